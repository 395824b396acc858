/* Texts, files and the end of a program through semihosting, the same on Arm and RISC-V. */
#include "semihosting.h"

#include "board.h"

enum {
  SYS_OPEN = 0x01,
  SYS_CLOSE = 0x02,
  SYS_WRITE0 = 0x04,
  SYS_READ = 0x06,
  SYS_SEEK = 0x0A,
  SYS_GET_CMDLINE = 0x15,
  SYS_EXIT_EXTENDED = 0x20,
  OPEN_BINARY_TO_READ = 1,
  APPLICATION_EXIT = 0x20026
};

static uintptr_t call(uintptr_t operation, const void* block) {
  return semihosting_call(operation, (uintptr_t)block);
}

void board_print(const char* text) {
  call(SYS_WRITE0, text);
}

void board_print_number(int32_t value) {
  char text[12];
  char* first = text + sizeof(text) - 1;
  uint32_t magnitude = value < 0 ? 0U - (uint32_t)value : (uint32_t)value;
  *first = '\0';
  do {
    *--first = (char)('0' + magnitude % 10);
    magnitude /= 10;
  } while (magnitude != 0);
  if (value < 0) {
    *--first = '-';
  }
  board_print(first);
}

size_t board_arguments(const char** words, size_t capacity) {
  static char line[512];
  const uintptr_t block[2] = {(uintptr_t)line, sizeof(line)};
  if (call(SYS_GET_CMDLINE, block) != 0) {
    return 0;
  }
  size_t found = 0;
  size_t count = 0;
  for (char* at = line; *at != '\0';) {
    char* word = at;
    while (*at != '\0' && *at != ' ') {
      ++at;
    }
    if (*at != '\0') {
      *at++ = '\0';
    }
    if (found++ > 0 && count < capacity) { /* the first word is the program's name */
      words[count++] = word;
    }
  }
  return count;
}

size_t board_read_file(const char* path, size_t offset, void* target, size_t size) {
  uintptr_t length = 0;
  while (path[length] != '\0') {
    ++length;
  }
  const uintptr_t open[3] = {(uintptr_t)path, OPEN_BINARY_TO_READ, length};
  const uintptr_t file = call(SYS_OPEN, open);
  if (file == (uintptr_t)-1) {
    return 0;
  }
  const uintptr_t seek[2] = {file, offset};
  const uintptr_t read[3] = {file, (uintptr_t)target, size};
  const size_t missing = call(SYS_SEEK, seek) == 0 ? call(SYS_READ, read) : size;
  call(SYS_CLOSE, &file);
  return missing <= size ? size - missing : 0;
}

void board_exit(int code) {
  const uintptr_t block[2] = {APPLICATION_EXIT, (uintptr_t)code};
  for (;;) {
    call(SYS_EXIT_EXTENDED, block);
  }
}
