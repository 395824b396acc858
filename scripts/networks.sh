# shellcheck shell=bash
# To be sourced: the networks of the tests for which all machines must give the same bits.

# network_inputs MAKER NAME CHECKPOINT SCHEME BITS RECIPE [DATASET]: makes network.safetensors,
# crops.bin and host_logits.txt in $networks/NAME/ with MAKER, which is make_proof_inputs, unless the
# same MAKER has made them before.
network_inputs() {
  local make=$1 folder=$networks/$2
  shift 2
  [[ ! $folder/complete -nt $make ]] || return 0
  mkdir -p "$folder"
  rm -f "$folder"/*
  "$make" "$1" "$2" "$3" "$4" "$folder" "${@:5}" || fail "no inputs for $folder"
  [[ -s $folder/host_logits.txt ]] || fail "$folder: the host gave no logits"
  touch "$folder/complete"
}

# for_each_network MAKER COMMAND...: makes each network's inputs, then calls COMMAND... NAME.
for_each_network() {
  local make=$1 model scheme checkpoint
  shift
  local -r demo_model=models/demo/fashion_vit.safetensors
  local -r demo_dataset=models/demo/fashion_mnist.safetensors
  one() {
    network_inputs "$make" "$@" || return
    "${command[@]}" "$1"
  }
  local command=("$@")
  for model in vit_nano swin_nano; do
    checkpoint=tests/data/nano/$model.safetensors
    for scheme in BitLog2_Single_16 BitLog2_Single_17 BitLog2_Half_16 BitLog2_Half_17 Sqrt2_17; do
      one "$model.$scheme.w4a4" "$checkpoint" "$scheme" 4 repq
    done
    one "$model.BitLog2_Half_17.w8a8" "$checkpoint" BitLog2_Half_17 8 repq
    one "$model.BitLog2_Half_16.w4a4.best" "$checkpoint" BitLog2_Half_16 4 best
    one "$model.BitLog2_Half_16.w6a6.best" "$checkpoint" BitLog2_Half_16 6 best
  done
  local architectures
  architectures=$("$make" architectures) || fail "no list of architectures"
  [[ -n $architectures ]] || fail "the list of architectures is empty"
  for model in $architectures; do
    one "$model.BitLog2_Half_16.w4a4.best" "random:$model" BitLog2_Half_16 4 best
    one "$model.Sqrt2_17.w8a8" "random:$model" Sqrt2_17 8 repq
  done
  if [[ -f $demo_model && -f $demo_dataset ]]; then
    one demo.BitLog2_Half_17.w4a4 "$demo_model" BitLog2_Half_17 4 repq "$demo_dataset"
    one demo.BitLog2_Half_16.w4a4.best "$demo_model" BitLog2_Half_16 4 best "$demo_dataset"
  else
    echo "  demo model: SKIPPED, $demo_model or $demo_dataset does not exist"
  fi
}
