
# From here on what this recipe adds to its base, which ran above.
echo '==> installing the JavaScript kernel'
cd /usr/local/lib/javascript-kernel
NODE_EXTRA_CA_CERTS=${PIP_CERT:-} npm ci --ignore-scripts --no-audit --no-fund --cache /run/build/npm
# What is for other systems, and what only the kernel's own developers read.
find node_modules/zeromq/build -mindepth 1 -maxdepth 1 ! -name linux ! -name manifest.json -exec rm -rf {} +
find node_modules -type f \( -name '*.map' -o -name '*.md' \) -delete
rm -rf /root/.npm /root/.node-gyp
