# Says that the CUDA kernels could not be tested where there is no C++ compiler for the shim, or this build mode has none.
. test/script.sh
: "${CXX:=g++}"
case $MODE in
tsan|fuzz) skip "cuda/*" "the shim's fibers and MODE=$MODE do not go together" ;;
*)  if command -v "$CXX" >/dev/null; then check "the tests of the CUDA kernels were built" test -x "$BUILD/test/cuda/linear_test"
    else skip "cuda/*" "$CXX is missing"; fi ;;
esac
finish cuda/shim
