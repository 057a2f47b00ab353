# Runs before the build.sh of the base, and under the same conditions; see there.
set -eu
. /run/build/env.sh

echo '==> installing the JavaScript kernel'
kernel=/usr/local/lib/javascript-kernel
mkdir -p $kernel
cp /run/build/recipe/files$kernel/package*.json $kernel
# Debian's npm would bring two hundred packages, and the lock of the base cannot replace one of them. So this
# step uses the npm that package.json names by its hash.
(
    cd $kernel
    export NODE_EXTRA_CA_CERTS=${PIP_CERT:-} COREPACK_HOME=/run/build/corepack COREPACK_ENABLE_DOWNLOAD_PROMPT=0
    corepack npm ci --ignore-scripts --no-audit --no-fund --cache /run/build/npm
)
# The kernel looks for Node's types in this folder; npm installs them one level higher.
mkdir -p $kernel/node_modules/tslab/node_modules
ln -s ../../@types $kernel/node_modules/tslab/node_modules/@types
# After an error the kernel would refuse all code for 200 ms. Here only the caller decides about waiting cells.
jupyter=$kernel/node_modules/tslab/dist/jupyter.js
grep -q 'execQueue.reset(200)' $jupyter
sed -i 's/execQueue.reset(200)/execQueue.reset(0)/' $jupyter
# Files for other systems, and files that only developers of the kernel read.
find $kernel/node_modules/zeromq/build -mindepth 1 -maxdepth 1 ! -name linux ! -name manifest.json -exec rm -rf {} +
find $kernel/node_modules -type f \( -name '*.map' -o -name '*.md' \) -delete
rm -rf /root/.npm

