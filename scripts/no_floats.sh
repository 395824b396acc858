# shellcheck shell=bash
# To be sourced: functions that search programs for floating point. The script that sources it must
# define `fail`, which ends it.

# Patterns that must not be found: routines of soft floating point; RISC-V instructions and registers
# of floats; x86-64 vector and x87 registers, and their instructions that name no register; on Arm,
# instructions that compute with floats and, if there are no vectors of integers, all instructions of
# the FPU.
readonly soft_float='__[a-z]*(sf|df|tf|hf|bf)[0-9a-z]*$'
readonly arm_soft_float='__aeabi_(c?[fdh][a-z0-9]+|u?[il]2[fd])$|__gnu_[a-z0-9]*[fdh][a-z0-9]*$'
readonly riscv_float=$'\t(c\\.)?f[a-z]+\\.[a-z.]+|[ \t,(](f[ats][0-9]+|fcsr|frm|fflags)([,) ]|$)|\tc?\\.?f[ls][wd](sp)?\t'
readonly riscv_unknown=$'\t(unimp|\\.word|\\.short|\\.[248]byte)'
readonly x86_registers='%([xyz]mm[0-9]*|st([^a-z]|$)|mm[0-7]|k[0-7])'
readonly x86_float=$'\t(f[a-z0-9]+|v?zero(upper|all)|vzero[a-z]+|emms|v?(ld|st)mxcsr)([ \t]|$)'
readonly arm_float=$'\tv[a-z]+[a-z0-9.]*\\.[bf](16|32|64)|\tv(m[rs][rs]|cvt|rint|sqrt|div)[a-z.]*\t.*fpscr|\tv(cvt|rint|sqrt|div)'
readonly arm_fpu=$'\t(v[a-z]+|f(ld|st)m)[a-z0-9.]*\t'
readonly arm_unknown='<UNDEFINED>|UNPREDICTABLE'

# must_lack PATTERN FILE WHAT: fails if the file has the pattern.
must_lack() {
  local found
  found=$(grep -E -m 5 "$1" "$2" || true)
  [[ -z $found ]] || fail "$3:"$'\n'"$found"
}

# disassemble OBJDUMP FILE LISTING [FLAG...]: writes one instruction per line, without the targets of
# branches, because an address may look like a register ("fa0").
disassemble() {
  "$1" -d --no-show-raw-insn "${@:4}" "$2" | grep -P '^ *[0-9a-f]+:\t' |
    sed -E 's/\b[0-9a-f]+ <[^>]*>//' >"$3" || true
}

# must_find PATTERN FILE WHAT: fails if must_lack would not notice the pattern.
must_find() {
  ! (must_lack "$1" "$2" "") 2>/dev/null || fail "$3 goes unnoticed"
}
