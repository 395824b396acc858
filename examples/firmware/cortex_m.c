/* Reset, the clock and semihosting on Arm Cortex-M. */
#include "board.h"
#include "semihosting.h"
#include "start.h"

/* A register of the processor. */
static volatile uint32_t* processor_register(uintptr_t address) {
  return (volatile uint32_t*)address;
}

enum {
  SYSTICK_CONTROL = 0xE010,
  SYSTICK_RELOAD = 0xE014,
  SYSTICK_VALUE = 0xE018,
  COPROCESSOR_ACCESS = 0xED88,
  SYSTICK_ON = 7, /* counts down with the processor's clock, and interrupts at 0 */
  SYSTICK_PERIOD = 1 << 24
};
static const uintptr_t kProcessor = 0xE0000000;

static volatile uint32_t systick_periods;

void on_reset(void);
void on_fault(void);
void on_systick(void);

/* An entry of the vector table: first the stack's end, then functions. */
typedef union {
  uint32_t* stack;
  void (*function)(void);
} vector;

__attribute__((section(".vectors"), used)) static const vector kVectors[16] = {
    {.stack = stack_end},     {.function = on_reset}, {.function = on_fault},
    {.function = on_fault},   {.function = on_fault}, {.function = on_fault},
    {.function = on_fault},   {.function = on_fault}, {.function = on_fault},
    {.function = on_fault},   {.function = on_fault}, {.function = on_fault},
    {.function = on_fault},   {.function = on_fault}, {.function = on_fault},
    {.function = on_systick},
};

void on_reset(void) {
#ifdef __ARM_FEATURE_MVE
  /* Vector instructions belong to coprocessors 10 and 11, which are off after a reset. */
  *processor_register(kProcessor + COPROCESSOR_ACCESS) |= 0xFU << 20;
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
  uint32_t* stack;
  __asm__ volatile("mov %0, sp" : "=r"(stack));
  fill_memory(stack);
  *processor_register(kProcessor + SYSTICK_RELOAD) = SYSTICK_PERIOD - 1;
  *processor_register(kProcessor + SYSTICK_VALUE) = 0;
  *processor_register(kProcessor + SYSTICK_CONTROL) = SYSTICK_ON;
  board_exit(main());
}

void on_fault(void) {
  board_print("fault\n");
  board_exit(1);
}

void on_systick(void) {
  ++systick_periods;
}

uint64_t board_ticks(void) {
  uint32_t periods;
  uint32_t left;
  do { /* until both reads are from the same period */
    periods = systick_periods;
    left = *processor_register(kProcessor + SYSTICK_VALUE);
  } while (periods != systick_periods);
  return (uint64_t)periods * SYSTICK_PERIOD + (SYSTICK_PERIOD - 1 - left);
}

__attribute__((naked)) uintptr_t semihosting_call(uintptr_t operation, uintptr_t argument) {
  (void)operation;
  (void)argument;
  __asm__("bkpt 0xAB\n\tbx lr");
}
