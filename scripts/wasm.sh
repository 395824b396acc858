# To be sourced: builds the integer runtime as WebAssembly, once with plain instructions and once with
# 128-bit vectors. The modules import no functions.

# Only headers of the C++ library are used. -Os: a page must load the module before it can run.
readonly wasm_flags=(--target=wasm32-wasi -Os -ffreestanding -ffunction-sections -fdata-sections -Wall
  -Wextra -Werror -Iinclude -DNDEBUG)
readonly wasm_cxx_flags=(-std=c++20 -fno-exceptions -fno-rtti -Isrc)
readonly wasm_exports=(bitlog2_open bitlog2_image_size bitlog2_num_classes bitlog2_kernels_name
  bitlog2_choose_kernels bitlog2_packed_size bitlog2_pack_weights bitlog2_arena_size bitlog2_run
  bitlog2_run_with_progress bitlog2_top_k bitlog2_class_name bitlog2_get_preprocessing
  bitlog2_crop_memory bitlog2_resize_and_crop bitlog2_num_attentions bitlog2_run_and_look bitlog2_status_text __heap_base)

# build_wasm_module FOLDER CLANG_MAJOR NAME FLAGS...: builds FOLDER/NAME.wasm, its objects in
# FOLDER/NAME/.
build_wasm_module() {
  local folder=$1/$3 module=$1/$3.wasm major=$2
  shift 3
  rm -rf "$folder"
  mkdir -p "$folder"
  printf '%s\n' src/integer/runtime/{,freestanding/}*.cpp \
    src/integer/runtime/kernels/{portable,code_runs,wasm_simd128}.cpp |
    xargs -P "$(nproc)" -I SOURCE bash -c '"$@" -c SOURCE -o "$0/$(basename SOURCE).o"' "$folder" \
      "clang++-$major" "${wasm_flags[@]}" "${wasm_cxx_flags[@]}" "$@" || return
  "clang-$major" "${wasm_flags[@]}" -c examples/firmware/memory.c -o "$folder/memory.o" || return
  "wasm-ld-$major" --no-entry --gc-sections --strip-all "${wasm_exports[@]/#/--export=}" \
    -o "$module" "$folder"/*.o
}

# build_wasm FOLDER CLANG_MAJOR: builds FOLDER/bitlog2.wasm and FOLDER/bitlog2_simd128.wasm.
build_wasm() {
  build_wasm_module "$1" "$2" bitlog2 && build_wasm_module "$1" "$2" bitlog2_simd128 -msimd128
}
