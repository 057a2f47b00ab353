# Runs before the build.sh of the base; see there for where and how.
set -eu
. /run/build/env.sh

echo '==> installing the JavaScript kernel'
kernel=/usr/local/lib/javascript-kernel
mkdir -p $kernel
cp /run/build/recipe/files$kernel/package*.json $kernel
# Debian's npm brings two hundred packages, one of which the lock of the base could not replace. The npm
# that package.json names by its hash comes for this one step.
(
    cd $kernel
    export NODE_EXTRA_CA_CERTS=${PIP_CERT:-} COREPACK_HOME=/run/build/corepack COREPACK_ENABLE_DOWNLOAD_PROMPT=0
    corepack npm ci --ignore-scripts --no-audit --no-fund --cache /run/build/npm
)
# Where the kernel looks for what Node offers; npm puts it one level higher.
mkdir -p $kernel/node_modules/tslab/node_modules
ln -s ../../@types $kernel/node_modules/tslab/node_modules/@types
# After an error it refuses all code for 200 ms. What becomes of waiting cells is their caller's choice.
jupyter=$kernel/node_modules/tslab/dist/jupyter.js
grep -q 'execQueue.reset(200)' $jupyter
sed -i 's/execQueue.reset(200)/execQueue.reset(0)/' $jupyter
# What is for other systems, and what only the kernel's own developers read.
find $kernel/node_modules/zeromq/build -mindepth 1 -maxdepth 1 ! -name linux ! -name manifest.json -exec rm -rf {} +
find $kernel/node_modules -type f \( -name '*.map' -o -name '*.md' \) -delete
rm -rf /root/.npm

