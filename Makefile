# make            the library and the tools            make run      the demo model at work
# make check      every test that needs no GPU         make bench    the standard set, or MODEL=file, into bench/log.csv
# make install    DESTDIR= PREFIX=/usr/local           make fuzz     libFuzzer targets, FUZZ_SECONDS each
# MODE=release|asan|tsan|hard|fuzz   CC=gcc|clang   BLAS=1   V=1
MODE   ?= release
.DEFAULT_GOAL := all
CC     := $(if $(filter default,$(origin CC)),gcc,$(CC))
PREFIX ?= /usr/local
# CUDA=1 builds the kernels for NVIDIA GPUs with nvcc, CUDA=0 does not; auto: where nvcc and a GPU are. CUDA_ARCH=90 for one kind of GPU;
# else the one that is here, or all that nvcc knows of the list, with PTX for later ones.
CUDA   ?= auto
NVCC   ?= $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
override CUDA := $(if $(filter auto,$(CUDA)),$(if $(NVCC),$(if $(wildcard /dev/nvidiactl),1,0),0),$(CUDA))
# BLAS=1: products of several rows with F32, F16 and BF16 weights through OpenBLAS, a numeric mode of its own: results depend on the
# processor and on how a prompt was cut, so the tests of those promises do not hold for it.
BLAS   ?= 0
B      := build/$(if $(filter gcc,$(CC))$(filter fuzz,$(MODE)),,$(CC)-)$(MODE)$(if $(filter 1,$(CUDA)),-cuda)$(if $(filter 1,$(BLAS)),-blas)
Q      := $(if $(V),,@)
DEPS   := jansson libutf8proc libpcre2-8$(if $(filter 1,$(BLAS)), openblas)

# What follows asks the compiler what it compiles for, before any rule has run: where there is none yet, what is missing is installed now.
ifneq ($(filter-out clean,$(or $(MAKECMDGOALS),all)),)
COMPILER = $(shell command -v $(firstword $(CC)))
$(if $(COMPILER),,$(shell sh third_party/install.sh >&2)$(if $(COMPILER),,$(error the compiler $(firstword $(CC)) is not here)))
endif

# -g1: lines for profiles and backtraces, and a shorter build; variables: MODE=asan, or CFLAGS=-g.
OPT_release := -O2 -g1
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread
OPT_hard := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -DLLM_HARD
OPT_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DLLM_FUZZ
OPT := $(OPT_$(MODE))
$(if $(OPT),,$(error MODE=$(MODE) is not one of release asan tsan hard fuzz))

INC    := -Iinclude -Itools -Itools/run -Ibench $(patsubst %,-I%,$(shell find libllm kernels -type d -not -path '*/cuda*'))
WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
CFLAGS ?=
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(if $(filter 1,$(BLAS)),-DLLM_BLAS) $(OPT) $(if $(ISA),-g1) -fPIC -fvisibility=hidden \
             -ffp-contract=off $(WARN) $(INC) $(ISA) $(DEP_CFLAGS) $(CFLAGS)
DEP_CFLAGS = $(shell pkg-config --cflags $(DEPS) 2>/dev/null)
DEP_LIBS   = $(shell pkg-config --libs $(DEPS) 2>/dev/null)
LIBS   = $(DEP_LIBS) -lpthread -lm

ARCH   := $(shell $(CC) -dumpmachine | cut -d- -f1)
OFF    := $(if $(filter x86_64,$(ARCH)),%_neon.c %_i8mm.c,%_avx2.c %_avxvnni.c %_avx512.c %_shani.c)
SRC    := $(filter-out $(OFF) $(if $(filter 1,$(BLAS)),,%_blas.c),$(wildcard libllm/*.c libllm/*/*.c kernels/*.c kernels/cpu/*.c))
OBJ    := $(SRC:%.c=$(B)/%.o)
ifeq ($(BLAS),1)
$(if $(shell pkg-config --exists openblas && echo yes),,$(error BLAS=1: OpenBLAS is not found (Debian: libopenblas-dev)))
endif
ifeq ($(CUDA),1)
$(if $(NVCC),,$(error CUDA=1: nvcc is not found; NVCC=path/to/nvcc names it))
CUDA_ARCH ?= $(or $(subst .,,$(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u)),$(filter $(subst compute_,,$(shell $(NVCC) --list-gpu-arch)),80 86 89 90 100 120))
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(NVCC))
# Two front ends for all of them, the kernels using nothing beyond: compute_80, and compute_89, which knows FP8. Each has machine code of its own, and
# their PTX serves what comes later.
comma  := ,
EARLY  := $(filter 80 86 87,$(CUDA_ARCH))
LATER  := $(filter-out $(EARLY),$(CUDA_ARCH))
gencode = $(if $(2),-gencode 'arch=compute_$(1)$(comma)code=[$(foreach a,$(2),sm_$(a)$(comma))compute_$(1)]')
NVCCFLAGS = -std=c++17 -O3 -D_GNU_SOURCE $(subst $(comma) ,$(comma),$(call gencode,80,$(EARLY)) $(call gencode,89,$(LATER))) \
            -Xcompiler -fPIC,-fvisibility=hidden $(INC) -Ikernels/cuda
OBJ    += $(patsubst %.cu,$(B)/%.o,$(wildcard kernels/cuda/*.cu))
CUDA_LIBS := -L$(CUDA_HOME)/lib64 -L$(CUDA_HOME)/lib -lcudart_static -ldl -lrt -lstdc++
LIBS   += $(CUDA_LIBS)
$(B)/kernels/backend.o: ALL_CFLAGS += -DLLM_CUDA
$(B)/%.o: %.cu | third_party-ok
	@mkdir -p $(@D)
	@$(if $(V),,echo "  nvcc $<")
	$(Q)$(NVCC) $(NVCCFLAGS) -MD -MP -c -o $@ $<
endif
SHARED := $(patsubst %.c,$(B)/%.o,$(filter-out tools/llm-%.c,$(wildcard tools/*.c)))
BENCH  := $(patsubst %.c,$(B)/%.o,$(filter-out $(OFF) bench/%-bench.c,$(wildcard bench/*.c)))
RUN    := $(patsubst %.c,$(B)/%.o,$(wildcard tools/run/*.c))
TOOLS  := $(patsubst tools/%.c,%,$(wildcard tools/llm-*.c)) $(patsubst bench/%.c,%,$(wildcard bench/llm-*.c))
FUZZ   := $(patsubst test/fuzz/fuzz_%.c,%,$(wildcard test/fuzz/fuzz_*.c))
TESTS  := $(patsubst test/%.c,$(B)/test/%,$(wildcard test/*/*_test.c))

# The CUDA kernels: the tests in test/cuda run them on the processor, through kernels/cuda/shim.h and a C++ compiler.
CXX    := $(if $(filter default,$(origin CXX)),$(if $(filter clang%,$(CC)),clang++,g++),$(CXX))
SHIM   := $(patsubst %.cu,$(B)/shim/%.o,$(wildcard kernels/cuda/*.cu)) $(B)/shim/kernels/backend.o
SHIM_BENCH := $(B)/shim/kernel-bench $(B)/shim/attend-bench
SHIM_CXXFLAGS = -std=c++17 -D_GNU_SOURCE -U_FORTIFY_SOURCE $(OPT) -fPIC -fvisibility=hidden -ffp-contract=off -fno-strict-aliasing -Wall -Wextra $(INC) -Ikernels/cuda
ifneq ($(filter tsan fuzz,$(MODE))$(if $(shell command -v $(CXX)),,none),)
TESTS  := $(filter-out $(B)/test/cuda/%,$(TESTS))
SHIM_BENCH :=
endif

all: $(B)/libllm.a $(TOOLS:%=$(B)/%)

# Instruction sets by suffix; they are chosen at run time. -g1: lines, but not where variables are, which takes half the time to compile.
$(B)/%_avx2.o:   ISA = -mavx2 -mfma -mf16c
$(B)/%_avxvnni.o: ISA = -mavx2 -mfma -mf16c -mavxvnni
$(B)/%_avx512.o: ISA = -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
$(B)/%_shani.o:  ISA = -mssse3 -msse4.1 -msha
$(B)/%_neon.o:   ISA = -march=armv8.2-a+dotprod+fp16
$(B)/%_i8mm.o:   ISA = -march=armv8.2-a+dotprod+fp16+i8mm

# The fuzz targets are parsers; instrumenting the kernels would take clang minutes each.
$(if $(filter fuzz,$(MODE)),$(eval $(B)/kernels/%.o: OPT = -O1 -g))

$(B)/%.o: %.c | third_party-ok
	@mkdir -p $(@D)
	@$(if $(V),,echo "  cc   $<")
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libllm.a: $(OBJ)
	@$(if $(V),,echo "  ar   $@")
	$(Q)rm -f $@ && ar rcs $@ $(OBJ)

$(TOOLS:%=$(B)/%): $(B)/%: $(B)/libllm.a
$(B)/llm-%: $(B)/tools/llm-%.o $(SHARED) $(B)/libllm.a
	$(Q)$(CC) $(OPT) -o $@ $(filter %.o,$^) $(B)/libllm.a $(LIBS)
$(B)/llm-run: $(RUN)
# Line editing in the chat, where the library for it is there; asked when the first object is made, after the installation.
EDIT   = $(shell pkg-config --exists libedit 2>/dev/null && echo yes)
$(B)/tools/run/line_edit.o: DEP_CFLAGS += $(if $(EDIT),-DLLM_EDIT $(shell pkg-config --cflags libedit))
$(B)/llm-run: LIBS += $(if $(EDIT),$(shell pkg-config --libs libedit))
YARDSTICK := $(filter $(B)/bench/machine% $(B)/bench/target%,$(BENCH))
$(B)/kernel-bench $(B)/attend-bench $(B)/tokenizer-bench $(B)/sampler-bench: $(B)/%: $(B)/bench/%.o $(YARDSTICK) $(B)/libllm.a
	$(Q)$(CC) $(OPT) -o $@ $^ $(LIBS)
$(B)/llm-%: $(B)/bench/llm-%.o $(SHARED) $(BENCH) $(B)/libllm.a
	$(Q)$(CC) $(OPT) -o $@ $(filter %.o,$^) $(B)/libllm.a $(LIBS)
$(B)/test/%: $(B)/test/%.o $(B)/libllm.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(OPT) $(LDWRAP) -o $@ $(filter %.o,$^) $(B)/libllm.a $(shell pkg-config --libs check) $(LIBS)

$(B)/shim/%.o: %.cu | third_party-ok
	@mkdir -p $(@D)
	@$(if $(V),,echo "  c++  $<")
	$(Q)$(CXX) $(SHIM_CXXFLAGS) -x c++ -MMD -MP -c -o $@ $<
$(B)/shim/%.o: %.c | third_party-ok
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -DLLM_CUDA -MMD -MP -c -o $@ $<
$(if $(filter 1,$(CUDA)),,$(eval $(B)/test/cuda/%.o: ALL_CFLAGS += -DLLM_CUDA_SHIM))
# Named, so that the rule below matches while one of them has not been built yet.
$(SHIM): | third_party-ok
$(B)/test/cuda/%: $(B)/test/cuda/%.o $(SHIM) $(B)/libllm.a
	@mkdir -p $(@D)
	$(Q)$(CXX) $(OPT) -o $@ $(filter %.o,$^) $(B)/libllm.a $(shell pkg-config --libs check) $(LIBS)

$(SHIM_BENCH): $(B)/shim/%: $(B)/bench/%.o $(YARDSTICK) $(SHIM) $(B)/libllm.a
	$(Q)$(CXX) $(OPT) -o $@ $(filter %.o,$^) $(B)/libllm.a $(LIBS)

# Tests that fail the n-th allocation stand between the library and these (test/hard/alloc_fail.h).
$(B)/test/hard/%: LDWRAP = $(foreach f,malloc calloc realloc free strdup strndup posix_memalign aligned_alloc mmap munmap,-Wl,--wrap=$(f))
$(filter $(B)/test/bench/% $(B)/test/cuda/measure_test,$(TESTS)) $(B)/gpu/measure_test: $(BENCH)
$(B)/test/model/reference_test $(B)/test/quant/quantize_test $(B)/test/cuda/models_test $(B)/test/cuda/offload_test: $(B)/tools/npy.o
# What the shim takes for cuBLAS.
$(B)/test/cuda/blas_test: $(B)/test/cuda/fake_cublas.so
$(B)/test/cuda/fake_cublas.so: test/cuda/fake_cublas.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -fvisibility=default -shared -o $@ $<
# The replay test holds every fuzz target; `make fuzz` runs each under libFuzzer.
$(B)/test/fuzz/replay_test: $(FUZZ:%=$(B)/test/fuzz/fuzz_%.o)

# The demo model is a demonstration, not an assistant (tools/demo/README.md).
run: all
	@echo "  run  $(B)/llm-run tools/demo/demo-gpt-oss.gguf --raw -p \"It was a cold evening in\" --temp 0.7 --top-p 0.9 --seed 1"
	$(Q)$(B)/llm-run tools/demo/demo-gpt-oss.gguf --raw --verbose-prompt -p "It was a cold evening in" -n 120 --temp 0.7 --top-p 0.9 --seed 1

# The standard set: some ten minutes on two cores, 13 GB of memory for the largest shape. MODEL=file: the same tests of that file.
bench: all
	$(Q)BUILD=$(B) MODEL='$(MODEL)' SHAPES='$(SHAPES)' ARGS='$(ARGS)' sh bench/standard.sh

# The tests of the CUDA kernels on the GPU itself: make check-cuda. SANITIZE=memcheck|racecheck|initcheck: under NVIDIA's compute-sanitizer.
CUDA_TESTS := $(patsubst test/cuda/%.c,$(B)/gpu/%,$(wildcard test/cuda/*_test.c))
$(B)/gpu/%: $(B)/test/cuda/%.o $(B)/tools/npy.o $(B)/libllm.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(OPT) -o $@ $(filter %.o,$^) $(B)/libllm.a $(shell pkg-config --libs check) $(LIBS)
check-cuda:
	$(Q)if [ -n "$(NVCC)" ]; then $(MAKE) --no-print-directory CUDA=1 gpu-run; \
	    else echo "SKIP check-cuda: nvcc is missing"; echo "0 passed, 0 failed, 1 skipped"; fi
gpu-run: $(CUDA_TESTS) $(B)/kernel-bench $(B)/attend-bench
	$(Q)$(if $(SANITIZE),LLM_TEST_RUN='$(CUDA_HOME)/bin/compute-sanitizer --tool $(SANITIZE) --error-exitcode 1') DEVICE_BENCH=$(B) sh test/run-tests.sh $(B) $(CUDA_TESTS) test/bench/op_bench_test.sh

tests: $(TESTS) $(SHIM_BENCH) $(B)/kernel-bench $(B)/attend-bench
# Under a name of its own: a line that says MAKE would run with make -n, too.
SUBMAKE = $(MAKE)
check: all tests $(B)/install/libllm.a
	$(Q)MAKE='$(SUBMAKE)' MODE=$(MODE) CC='$(CC)' CXX='$(CXX)' sh test/run-tests.sh $(B) $(TESTS) $(sort $(wildcard test/*/*_test.sh))

# What is installed is one object in which only the functions of llm.h are visible.
$(B)/install/libllm.a: $(B)/libllm.a
	@mkdir -p $(@D)
	$(Q)$(CC) -r -nostdlib -o $(@D)/llm.o -Wl,--whole-archive $< -Wl,--no-whole-archive
	$(Q)objcopy --localize-hidden $(@D)/llm.o && rm -f $@ && ar rcs $@ $(@D)/llm.o

VERSION = $(shell sed -n 's/^\#define LLM_VERSION "\(.*\)"/\1/p' include/llm.h)
install: all $(B)/install/libllm.a
	$(Q)install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	$(Q)install -m 644 $(B)/install/libllm.a $(DESTDIR)$(PREFIX)/lib/
	$(Q)install -m 644 include/llm.h $(DESTDIR)$(PREFIX)/include/
	$(Q)sed 's,@PREFIX@,$(PREFIX),; s,@CUDA_LIBS@ ,$(if $(CUDA_LIBS),$(CUDA_LIBS) ),; s,@VERSION@,$(VERSION),; s/@DEPS@/$(DEPS)/' libllm/libllm.pc.in >$(DESTDIR)$(PREFIX)/lib/pkgconfig/libllm.pc
	$(Q)for f in $(TOOLS:%=$(B)/%); do install -m 755 $$f $(DESTDIR)$(PREFIX)/bin/ || exit 1; done
	$(Q)for f in $(TOOLS); do $(B)/$$f --help-man >$(DESTDIR)$(PREFIX)/share/man/man1/$$f.1 || exit 1; done
	$(Q)install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(Q)for f in $(TOOLS); do $(B)/$$f --completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$f && \
	    $(B)/$$f --completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$f && \
	    $(B)/$$f --completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$f.fish || exit 1; done

FUZZ_SECONDS ?= 60
fuzz: ; $(Q)$(MAKE) MODE=fuzz CC=clang $(FUZZ:%=fuzz-%)
$(B)/fuzz_%: $(B)/test/fuzz/fuzz_%.o $(B)/libllm.a
	$(Q)$(CC) $(OPT) -fsanitize=fuzzer -o $@ $< $(B)/libllm.a $(LIBS)
fuzz-%: $(B)/fuzz_%
	@mkdir -p $(B)/corpus/$* $(B)/findings
	$(Q)$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix=$(B)/findings/$*- $(B)/corpus/$* test/fuzz/corpus/$*

# The tests of the kernels, of threads' loops, and of whole models' numeric contract, on a processor with NEON, emulated (Debian:
# gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user). Of the libraries only jansson's header is needed, which is the same for every processor.
NEON_CC ?= aarch64-linux-gnu-gcc
QEMU    ?= qemu-aarch64
PLAIN   := $(patsubst test/%.c,$(B)/test/%-plain,$(wildcard test/kernels/*_test.c) test/base/loops_test.c test/run/invariants_test.c)
PLAIN_OBJ := $(filter $(B)/libllm/base/% $(B)/kernels/%,$(OBJ))
$(filter-out $(B)/test/run/%,$(PLAIN)): %-plain: %.o $(PLAIN_OBJ)
	$(Q)$(CC) $(OPT) -static -o $@ $^ -lpthread -lm
$(B)/test/run/%-plain: $(B)/test/run/%.o $(B)/test/plain_text.o $(PLAIN_OBJ) $(filter $(patsubst %,$(B)/libllm/%,api.o arch/% format/% model/% run/%),$(OBJ))
	$(Q)$(CC) $(OPT) -static -o $@ $^ -lpthread -lm
plain-run: $(PLAIN)
	$(Q)LLM_TEST_RUN=$(QEMU) sh test/run-tests.sh $(B) $(PLAIN)
PLAIN_CFLAGS = -DLLM_TEST_PLAIN -idirafter $(shell pkg-config --variable=includedir jansson)
check-neon:
	$(Q)if command -v $(NEON_CC) >/dev/null && command -v $(QEMU) >/dev/null; \
	    then $(MAKE) --no-print-directory CC=$(NEON_CC) CFLAGS="$(CFLAGS) $(PLAIN_CFLAGS)" plain-run; \
	    else echo "SKIP check-neon: $(NEON_CC) or $(QEMU) is missing"; echo "0 passed, 0 failed, 1 skipped"; fi

# Installs the packages of third_party/packages.txt that are missing; asks nothing where all are there.
third_party-ok:
	@sh third_party/install.sh

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.PHONY: all tests check check-cuda gpu-run check-neon plain-run clean third_party-ok run bench fuzz install
.SECONDARY:
