# To be sourced: builds the integer runtime as WebAssembly: with plain instructions, with 128-bit
# vectors, and with relaxed ones besides. The modules import no functions.

# Only headers of the C++ library are used. A page must load a module before it can run: everything is
# optimized at link time and for size, kernels (-Os) less than the rest (-Oz).
readonly wasm_flags=(--target=wasm32-wasi -ffreestanding -ffunction-sections -fdata-sections -Wall
  -Wextra -Werror -Iinclude -DNDEBUG)
readonly wasm_cxx_flags=(-std=c++20 -fno-exceptions -fno-rtti -fno-threadsafe-statics -flto -Isrc)
readonly wasm_exports=(bitlog2_open bitlog2_image_size bitlog2_num_classes bitlog2_kernels_name bitlog2_kernels
  bitlog2_choose_kernels bitlog2_packed_size bitlog2_pack_weights bitlog2_arena_size bitlog2_run
  bitlog2_run_with_progress bitlog2_top_k bitlog2_class_name bitlog2_get_preprocessing
  bitlog2_crop_memory bitlog2_resize_and_crop bitlog2_num_attentions bitlog2_run_and_look bitlog2_status_text __heap_base)
# What every engine with vectors has, too.
readonly wasm_vector_flags=(-msimd128 -mbulk-memory -msign-ext)

# build_wasm_module FOLDER CLANG_MAJOR NAME KERNELS FLAGS...: builds FOLDER/NAME.wasm, its objects in
# FOLDER/NAME/. KERNELS is a pattern of the files of kernels that take its time.
build_wasm_module() {
  local folder=$1/$3 module=$1/$3.wasm major=$2 kernels=$4 source level
  shift 4
  rm -rf "$folder"
  mkdir -p "$folder"
  for source in src/integer/runtime/{,freestanding/}*.cpp \
    src/integer/runtime/kernels/{portable,portable_attention,wasm_simd128,wasm_relaxed}.cpp; do
    level=-Oz
    # shellcheck disable=SC2053  # a pattern
    [[ $(basename "$source" .cpp) != $kernels ]] || level=-Os
    printf '%s\0' "$level" "$source"
  done | xargs -0 -n 2 -P "$(nproc)" bash -c \
    '"${@:2:$#-3}" "${@: -2:1}" -c "${@: -1}" -o "$1/$(basename "${@: -1}").o"' build "$folder" \
    "clang++-$major" "${wasm_flags[@]}" "${wasm_cxx_flags[@]}" "$@" || return
  "clang-$major" "${wasm_flags[@]}" "$@" -Os -c examples/firmware/memory.c -o "$folder/memory.o" || return
  "wasm-ld-$major" --no-entry --gc-sections --strip-all -O2 --compress-relocations \
    "${wasm_exports[@]/#/--export=}" -o "$module" "$folder"/*.o
}

# build_wasm FOLDER CLANG_MAJOR: builds bitlog2.wasm, bitlog2_simd128.wasm and bitlog2_relaxed.wasm in
# FOLDER.
build_wasm() {
  build_wasm_module "$1" "$2" bitlog2 'portable*' &&
    build_wasm_module "$1" "$2" bitlog2_simd128 'wasm_*' "${wasm_vector_flags[@]}" &&
    build_wasm_module "$1" "$2" bitlog2_relaxed 'wasm_*' "${wasm_vector_flags[@]}" -mrelaxed-simd
}
