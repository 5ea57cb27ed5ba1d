# make            the library and the tools            make run      the demo model at work
# make check      every test that needs no GPU         make bench    the standard benches
# make install    DESTDIR= PREFIX=/usr/local           make fuzz     libFuzzer targets, FUZZ_SECONDS each
# MODE=release|asan|tsan|hard   CC=gcc|clang   V=1
MODE   ?= release
CC     := $(if $(filter default,$(origin CC)),gcc,$(CC))
PREFIX ?= /usr/local
B      := build/$(if $(filter gcc,$(CC)),,$(CC)-)$(MODE)
Q      := $(if $(V),,@)
DEPS   := jansson libutf8proc libpcre2-8

OPT_release := -O2 -g
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread
OPT_hard := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -DLLM_HARD
OPT := $(OPT_$(MODE))
$(if $(OPT),,$(error MODE=$(MODE) is not one of release asan tsan hard))

INC    := -Iinclude $(patsubst %,-I%,$(shell find libllm kernels -type d -not -path '*/cuda*'))
WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
CFLAGS ?=
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(OPT) -fPIC -fvisibility=hidden -ffp-contract=off $(WARN) $(INC) $(ISA) $(DEP_CFLAGS) $(CFLAGS)
DEP_CFLAGS = $(shell pkg-config --cflags $(DEPS) 2>/dev/null)
DEP_LIBS   = $(shell pkg-config --libs $(DEPS) 2>/dev/null)
LIBS   = $(DEP_LIBS) -lpthread -lm

ARCH   := $(shell $(CC) -dumpmachine | cut -d- -f1)
OFF    := $(if $(filter x86_64,$(ARCH)),%_neon.c,%_avx2.c %_avx512.c)
SRC    := $(filter-out $(OFF),$(wildcard libllm/*.c libllm/*/*.c kernels/cpu/*.c))
OBJ    := $(SRC:%.c=$(B)/%.o)
TOOLS  := $(patsubst tools/%.c,%,$(wildcard tools/llm-*.c)) $(patsubst bench/%.c,%,$(wildcard bench/llm-*.c))
TESTS  := $(patsubst test/%.c,$(B)/test/%,$(wildcard test/*/*_test.c))

all: $(B)/libllm.a $(TOOLS:%=$(B)/%)

# Instruction sets by suffix; they are chosen at run time.
$(B)/%_avx2.o:   ISA = -mavx2 -mfma -mf16c
$(B)/%_avx512.o: ISA = -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
$(B)/%_neon.o:   ISA = -march=armv8.2-a+dotprod+fp16

$(B)/%.o: %.c | third_party-ok
	@mkdir -p $(@D)
	@$(if $(V),,echo "  cc   $<")
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libllm.a: $(OBJ)
	@$(if $(V),,echo "  ar   $@")
	$(Q)rm -f $@ && ar rcs $@ $(OBJ)

$(TOOLS:%=$(B)/%): $(B)/%: $(B)/libllm.a
$(B)/llm-%: $(B)/tools/llm-%.o $(B)/libllm.a
	$(Q)$(CC) $(OPT) -o $@ $(filter %.o,$^) $(B)/libllm.a $(LIBS)
$(B)/test/%: $(B)/test/%.o $(B)/libllm.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(OPT) -o $@ $(filter %.o,$^) $(B)/libllm.a $(shell pkg-config --libs check) $(LIBS)

tests: $(TESTS)
check: all tests
	$(Q)sh test/run-tests.sh $(B) $(TESTS)

# Installs the packages of third_party/packages.txt that are missing; asks nothing where all are there.
third_party-ok:
	@sh third_party/install.sh

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.PHONY: all tests check clean third_party-ok run bench fuzz install
.SECONDARY:
