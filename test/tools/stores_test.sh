#!/bin/sh
# Models found where other programs keep them: Hugging Face's cache, LM Studio's folders, Ollama's store; and hostile ones.
. test/script.sh
run=$BUILD/llm-run inspect=$BUILD/llm-inspect
gguf=$PWD/tools/demo/demo-gpt-oss.gguf folder=$PWD/test/data/ref/qwen3/hf
home=$tmp/home
mkdir -p "$home"
clean="env -u HF_HOME -u HF_HUB_CACHE -u HUGGINGFACE_HUB_CACHE -u XDG_CACHE_HOME -u OLLAMA_MODELS HOME=$home"
commit=0123456789abcdef0123456789abcdef01234567

# finds NAME [ENV...]: the model opens by this name.
finds() { name=$1; shift; $clean "$@" "$inspect" --no-tensors "$name" >"$tmp/stdout" 2>"$tmp/stderr" </dev/null || { cat "$tmp/stderr"; return 1; }; }
# refuses TEXT NAME [ENV...]: exit code 3 and TEXT on stderr.
refuses()
{
    text=$1 name=$2; shift 2
    $clean "$@" timeout 20 "$inspect" --no-tensors "$name" >"$tmp/stdout" 2>"$tmp/stderr" </dev/null; got=$?
    [ $got -eq 3 ] && grep -qF -- "$text" "$tmp/stderr" || { echo "exit code $got, want 3 and '$text':"; cat "$tmp/stderr"; return 1; }
}
# blob FILE FOLDER: puts the file into a folder of blobs; prints its SHA-256.
blob() { h=$(sha256sum <"$1" | cut -d ' ' -f 1); mkdir -p "$2"; ln -f "$1" "$2/$h" 2>/dev/null || cp "$1" "$2/$h"; echo "$h"; }
git_name() { { printf 'blob %d\0' "$(wc -c <"$1")"; cat "$1"; } | sha1sum | cut -d ' ' -f 1; }
# hf_file REPO FILE SOURCE [git]: a link in the snapshot to a blob named by SHA-256, or as git does.
hf_file()
{
    if [ "$4" = git ]; then h=$(git_name "$3"); mkdir -p "$1/blobs"; cp "$3" "$1/blobs/$h"; else h=$(blob "$3" "$1/blobs"); fi
    up=../..; case $2 in */*) up=../../..; esac
    mkdir -p "$(dirname "$1/snapshots/$commit/$2")" && ln -sf "$up/blobs/$h" "$1/snapshots/$commit/$2"
}
ref() { mkdir -p "$1/refs" && printf %s "${2:-$commit}" >"$1/refs/main"; }

# ---- nothing here
check "an unknown name" refuses "no such model" nobody/nothing
for place in "Hugging Face cache: $home/.cache/huggingface/hub (no such folder)" "LM Studio: $home/.lmstudio/models" \
        "LM Studio: $home/.cache/lm-studio/models" "Ollama: $home/.ollama/models" "Ollama: /usr/share/ollama/.ollama/models"; do
    check "says that it looked in $place" grep -qF "$place" "$tmp/stderr"
done
check "--list of nothing" sh -c "$clean '$run' --list >'$tmp/list' 2>'$tmp/err' && test ! -s '$tmp/list' && grep -q 'no models found' '$tmp/err'"

# ---- Hugging Face
hub=$home/.cache/huggingface/hub
repo=$hub/models--acme--tiny
for f in "$folder"/*; do case $f in *.safetensors) hf_file "$repo" "$(basename "$f")" "$f";; *) hf_file "$repo" "$(basename "$f")" "$f" git;; esac; done
ref "$repo"
check "org/name" finds acme/tiny
check "hf:org/name" finds hf:acme/tiny
check "case does not matter" finds Acme/Tiny
check "org/name@commit" finds acme/tiny@$commit
check "org/name@main" finds acme/tiny@main
check "a revision that is not here" refuses "refs/other" acme/tiny@other
check "a revision that climbs" refuses "cannot be the name of a revision" acme/tiny@../../../x
check "a quantization that is not here" refuses "not 'Q4_K_M'" acme/tiny:Q4_K_M
mkdir -p "$tmp/hub2" && mv "$repo" "$tmp/hub2/"
check "not in the default place any more" refuses "no such model" acme/tiny
check "HF_HUB_CACHE" finds acme/tiny HF_HUB_CACHE="$tmp/hub2"
check "HUGGINGFACE_HUB_CACHE" finds acme/tiny HUGGINGFACE_HUB_CACHE="$tmp/hub2"
check "HF_HUB_CACHE goes first" refuses "$tmp/empty" acme/tiny HF_HUB_CACHE="$tmp/empty" HUGGINGFACE_HUB_CACHE="$tmp/hub2"
mkdir -p "$tmp/hfhome" "$tmp/xdg/huggingface" && ln -s ../hub2 "$tmp/hfhome/hub" && ln -s ../../hub2 "$tmp/xdg/huggingface/hub"
check "HF_HOME" finds acme/tiny HF_HOME="$tmp/hfhome"
check "XDG_CACHE_HOME" finds acme/tiny XDG_CACHE_HOME="$tmp/xdg"
mv "$tmp/hub2/models--acme--tiny" "$hub/"
rm "$repo/refs/main"
check "no refs, one snapshot" finds acme/tiny
ref "$repo" ../../../../../../etc
check "a ref that climbs" refuses "wanted the 40 hex digits" acme/tiny
ref "$repo" ffffffffffffffffffffffffffffffffffffffff
check "a ref to a snapshot that is not there" refuses "not complete" acme/tiny
ref "$repo"
ln -sf /etc/hostname "$repo/snapshots/$commit/config.json"
check "a link that leads out" refuses "leads out of" acme/tiny
ln -sf config.json "$repo/snapshots/$commit/config.json"
check "a link to itself" refuses "leads nowhere" acme/tiny
hf_file "$repo" config.json "$folder/config.json" git
ln -sfn "$repo/snapshots" "$repo/snapshots/$commit/loop"
check "a link in a circle does no harm" finds acme/tiny
rm "$repo/snapshots/$commit/loop"

# ---- Hugging Face: GGUF files
quants=$hub/models--acme--tiny-GGUF
hf_file "$quants" tiny-Q4_K_M.gguf "$gguf"
ref "$quants"
check "the only GGUF file" finds acme/tiny-GGUF
check ":quant" finds acme/tiny-gguf:q4_k_m
check ":file" finds acme/tiny-GGUF:tiny-Q4_K_M.gguf
check "org/name/file" finds acme/tiny-GGUF/tiny-Q4_K_M.gguf
check "part of a label is not the label" refuses "not 'Q4_K'" acme/tiny-GGUF:Q4_K
hf_file "$quants" tiny-Q8_0.gguf "$gguf"
hf_file "$quants" mmproj-tiny.gguf "$gguf"
check "two of them" refuses "could be any of these" acme/tiny-GGUF
check "the choices are listed" grep -qF "acme/tiny-GGUF:Q8_0" "$tmp/stderr"
check "only them" test "$(grep -c 'acme/tiny-GGUF:' "$tmp/stderr")" -eq 2
check "one of them" finds acme/tiny-GGUF:Q8_0
hf_file "$quants" tiny-UD-Q4_K_M.gguf "$gguf"
check "the exact label wins" finds acme/tiny-GGUF:Q4_K_M
check "UD-" finds acme/tiny-GGUF:UD-Q4_K_M
hf_file "$quants" BF16/tiny-BF16-00001-of-00002.gguf "$gguf"
hf_file "$quants" BF16/tiny-BF16-00002-of-00002.gguf "$gguf"
check "in a folder below, one choice for all parts" finds acme/tiny-GGUF:bf16
ln -sf ../../blobs/nothing "$quants/snapshots/$commit/tiny-Q2_K.gguf"
check "a download that is not there" refuses "leads nowhere" acme/tiny-GGUF:Q2_K
check "the others are" finds acme/tiny-GGUF:Q8_0

# ---- LM Studio
lms=$home/.lmstudio/models
mkdir -p "$lms/acme/studio-GGUF"
cp "$gguf" "$lms/acme/studio-GGUF/studio-Q6_K.gguf"
check "LM Studio" finds acme/studio-GGUF
check "lmstudio:" finds lmstudio:acme/studio-GGUF:q6_k
check "not under hf:" refuses "no such model" hf:acme/studio-GGUF
mkdir -p "$lms/acme/tiny-GGUF" && ln -s "$gguf" "$lms/acme/tiny-GGUF/tiny-Q8_0.gguf"
check "in two stores" refuses "hf:acme/tiny-GGUF:Q8_0" acme/tiny-GGUF:Q8_0
check "a prefix chooses" finds lmstudio:acme/tiny-GGUF:Q8_0
mkdir -p "$tmp/studio/models/acme/moved" && cp "$gguf" "$tmp/studio/models/acme/moved/moved.gguf"
printf '%s\n' "$tmp/studio" >"$home/.lmstudio-home-pointer"
check "LM Studio's home pointer" finds acme/moved
ln -s "$lms" "$lms/acme/circle"
check "folders in a circle" finds acme/studio-GGUF

# ---- Ollama
ollama=$home/.ollama/models
library=$ollama/manifests/registry/library
mkdir -p "$library/tiny"
digest=$(blob "$gguf" "$ollama/blobs") && mv "$ollama/blobs/$digest" "$ollama/blobs/sha256-$digest"
printf '{}' >"$tmp/config"; config=$(blob "$tmp/config" "$ollama/blobs") && mv "$ollama/blobs/$config" "$ollama/blobs/sha256-$config"
# manifest FILE DIGEST SIZE [MORE LAYERS]
manifest()
{
    mkdir -p "$(dirname "$1")"
    printf '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:%s","size":2},"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"%s","size":%s}%s]}' \
        "$config" "$2" "$3" "$4" >"$1"
}
size=$(wc -c <"$gguf")
manifest "$library/tiny/latest" "sha256:$digest" "$size"
check "name" finds tiny
check "name:latest" finds tiny:latest
check "ollama:name" finds ollama:tiny
check "a tag that is not here" refuses "not '7b'" tiny:7b
manifest "$library/tagged/1b-q4" "sha256:$digest" "$size"
check "the only tag" finds tagged
manifest "$library/tagged/2b" "sha256:$digest" "$size"
check "two tags" refuses "tagged:1b-q4" tagged
manifest "$ollama/manifests/registry/acme/named/latest" "sha256:$digest" "$size"
check "namespace/name" finds acme/named
check "host/namespace/name:tag" finds registry/acme/named:latest
check "the namespace library may be said" finds library/tiny
check "OLLAMA_MODELS" finds tiny OLLAMA_MODELS="$ollama" HOME="$tmp"
manifest "$library/bad/climb" "sha256:../../../../../../etc/passwd" 10
check "a digest that climbs" refuses "64 hex digits" bad:climb
manifest "$library/bad/absent" "sha256:$(printf %064d 7)" 10
check "a blob that is not there" refuses "No such file" bad:absent
manifest "$library/bad/short" "sha256:$digest" 12
check "a blob of another size" refuses "not complete" bad:short
manifest "$library/bad/adapter" "sha256:$digest" "$size" ',{"mediaType":"application/vnd.ollama.image.adapter","digest":"sha256:0","size":1}'
check "an adapter" refuses "adapter" bad:adapter
manifest "$library/bad/two" "sha256:$digest" "$size" ",{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:$digest\",\"size\":1}"
check "weights in two layers" refuses "several layers" bad:two
for broken in '' '{' '[]' '{"layers":3}' '{"layers":[]}' '{"layers":[3,null,{}]}' '{"layers":[{"mediaType":"application/vnd.ollama.image.model"}]}' \
        '{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":7}]}'; do
    printf %s "$broken" >"$library/bad/broken"
    check "the manifest '$broken'" refuses "$library/bad/broken" bad:broken
done
yes '[' | head -n 400000 | tr -d '\n' >"$library/bad/deep"
check "a manifest of brackets" refuses "$library/bad/deep" bad:deep
head -c 2000000 /dev/zero >"$library/bad/huge"
check "a huge manifest" refuses "wanted at most 1048576" bad:huge
mkfifo "$library/bad/pipe"
check "a pipe" refuses "not a regular file" bad:pipe
ln -s loop "$library/bad/loop"
check "a link to itself as manifest" refuses "bad/loop" bad:loop
ln -s "$ollama/manifests" "$library/bad/circle"
check "a folder that contains itself" finds tiny

# ---- a folder with several
mkdir "$tmp/many" && cp "$gguf" "$tmp/many/x-Q4_0.gguf" && cp "$gguf" "$tmp/many/x-Q5_0.gguf"
check "folder:label" finds "$tmp/many:q5_0"
check "folder with several" refuses "name one of them" "$tmp/many"
check "a path that is not there" refuses "$tmp/nowhere.gguf" "$tmp/nowhere.gguf"

# ---- the list
check "--list" sh -c "$clean '$run' --list >'$tmp/list' 2>'$tmp/err'"
check "with Hugging Face's" grep -qE '^acme/tiny +hf +.*qwen3.*(yes|NO)' "$tmp/list"
check "with LM Studio's" grep -qE '^acme/studio-GGUF:Q6_K +lmstudio .*gpt-oss .*yes' "$tmp/list"
check "with Ollama's" grep -qE '^tiny:latest +ollama .*7.1 MiB +gpt-oss' "$tmp/list"
check "with what is wrong" grep -qE '^bad:climb +ollama .*64 hex digits' "$tmp/list"

# ---- checksums
check "--verify of a snapshot" sh -c "$clean '$run' --verify acme/tiny >'$tmp/v'"
check "weights and small files" test "$(grep -c '^ok' "$tmp/v")" -eq "$(ls "$folder" | wc -l)"
check "--verify of one GGUF file" sh -c "$clean '$run' --verify hf:acme/tiny-GGUF:Q8_0 >'$tmp/v' && grep -q '^ok .*tiny-Q8_0.gguf' '$tmp/v'"
check "--verify of Ollama's" sh -c "$clean '$run' --verify tiny >'$tmp/v' && test \$(grep -c ^ok '$tmp/v') -eq 2"
rm "$ollama/blobs/sha256-$digest" && cp "$gguf" "$ollama/blobs/sha256-$digest"
printf x | dd of="$ollama/blobs/sha256-$digest" bs=1 seek=5000000 conv=notrunc 2>/dev/null
check "a byte that changed" sh -c "$clean '$run' --verify tiny >'$tmp/v' 2>&1; test \$? -eq 3 && grep -q '^BAD' '$tmp/v'"
weights=$(readlink -f "$(ls "$repo/snapshots/$commit/"*.safetensors | head -n 1)")
cp "$weights" "$tmp/w" && rm "$weights" && head -c 100 "$tmp/w" >"$weights"
check "a file cut short" sh -c "$clean '$run' --verify acme/tiny >'$tmp/v' 2>&1; test \$? -eq 3 && grep -q '^BAD.*safetensors' '$tmp/v'"
check "a file whose name says nothing" sh -c "'$run' --verify '$gguf' >'$tmp/v' 2>'$tmp/err'; test \$? -eq 3 && grep -q -- '--manifest' '$tmp/err'"
(cd "$tmp/many" && sha256sum x-Q4_0.gguf >SUMS && sha256sum --binary x-Q5_0.gguf >>SUMS)
check "--manifest" sh -c "'$run' --verify --manifest '$tmp/many/SUMS' '$tmp/many/x-Q5_0.gguf' >'$tmp/v' && grep -q '^ok' '$tmp/v'"
sed 's/^./0/; s/^0\(.\)/f\1/' "$tmp/many/SUMS" >"$tmp/many/WRONG"
check "--manifest with other sums" sh -c "'$run' --manifest '$tmp/many/WRONG' '$tmp/many/x-Q5_0.gguf' >'$tmp/v' 2>&1; test \$? -eq 3"
printf 'no sums here\n' >"$tmp/many/TEXT"
check "--manifest that is none" sh -c "'$run' --manifest '$tmp/many/TEXT' '$tmp/many/x-Q5_0.gguf' 2>'$tmp/err'; test \$? -eq 1 && grep -q 'TEXT:1' '$tmp/err'"
finish tools/stores
