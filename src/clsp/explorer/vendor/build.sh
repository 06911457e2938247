#!/bin/sh
# Builds regl-scatterplot.min.js and LICENSES.txt anew: `make vendor`. Needs node and npm; nothing else of clsp does.
# To take a newer version, change the numbers here, and name the changes in CHANGELOG.md.
set -eu
SCATTERPLOT=1.16.0 REGL=2.1.1 PUB_SUB=3.0.0 ESBUILD=0.28.2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund --save-exact \
  "regl-scatterplot@$SCATTERPLOT" "regl@$REGL" "pub-sub-es@$PUB_SUB" "esbuild@$ESBUILD"
cat > entry.js <<'JS'
export { default as createScatterplot, checkSupport } from "regl-scatterplot";
JS
note="/* regl-scatterplot $SCATTERPLOT (npm), with its dependencies; LICENSES.txt beside this file. Made by build.sh. */"
npx esbuild entry.js --bundle --minify --format=iife --global-name=reglScatterplot --target=es2020 --charset=ascii \
  --legal-comments=none --log-level=warning --banner:js="$note" --outfile="$here/regl-scatterplot.min.js"
{
  echo "regl-scatterplot.min.js holds the packages below, from https://registry.npmjs.org, bundled by esbuild $ESBUILD."
  echo "regl-scatterplot contains parts of kdbush (https://github.com/mourner/kdbush), Copyright (c) 2018, Vladimir"
  echo "Agafonkin, ISC: the text is that of earcut below, which has the same author and licence."
  for package in regl-scatterplot @flekschas/utils camera-2d-simple dom-2d-camera earcut gl-matrix pub-sub-es regl \
    regl-line; do
    version=$(node -p "require('./node_modules/$package/package.json').version")
    printf '\n\n======== %s %s\n\n' "$package" "$version"
    cat "node_modules/$package"/LICENSE*
  done
} | sed 's/[[:space:]]*$//' > "$here/LICENSES.txt"
