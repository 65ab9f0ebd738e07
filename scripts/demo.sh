#!/usr/bin/env bash
# The main path on one excerpt: song -> tokens -> refined tokens, with a table of both and the sound of both.
#   scripts/demo.sh HEARTOPT SONG FOLDER
set -euo pipefail

heartopt=$1 song=$2 folder=$3

[ -f "$song" ] || {
    echo "error: no excerpt to run on: pass SONG=path/to/a/song" >&2
    exit 1
}
name=$(basename "${song%.*}")
echo "heartopt optimize $song -o $folder --keep-start --overwrite   (about two minutes on two cores)"
"$heartopt" optimize "$song" -o "$folder" --keep-start --overwrite
cat <<END

Listen to them:
  the song                         $song
  decoded from the first tokens    $folder/$name.start.wav
  decoded from the refined tokens  $folder/$name.optimized.wav
The refined tokens: $folder/$name.tokens.npy
END
