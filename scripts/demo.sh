#!/usr/bin/env bash
# The main path on one excerpt: song -> tokens -> audio, then the tokens refined -> audio, with a table of both.
#   scripts/demo.sh HEARTOPT SONG FOLDER
set -euo pipefail

heartopt=$1 song=$2 folder=$3

[ -f "$song" ] || {
    echo "error: no excerpt to run on: pass SONG=path/to/a/song" >&2
    exit 1
}
name=$(basename "${song%.*}")
"$heartopt" tokenize "$song" -o "$folder/before"
"$heartopt" decode "$folder/before/$name.tokens.npy" -o "$folder/before"
"$heartopt" optimize "$song" -o "$folder/after"
cat <<END

Listen to them:
  the original                    $song
  its tokens from the projection  $folder/before/$name.wav
  its tokens after optimizing     $folder/after/$name.optimized.wav
END
