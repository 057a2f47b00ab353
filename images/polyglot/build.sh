# Runs before the build.sh of the base, and under the same conditions; see there.
set -eu
. /run/build/env.sh

echo '==> trimming the compilers'
go=/usr/share/go-1.24
# Go's tests, the sources of its own tools, and its data for -race.
rm -rf $go/test $go/api $go/misc $go/src/cmd
find $go/src -type d -name testdata -prune -exec rm -rf {} +
find $go/src -type f \( -name '*_test.go' -o -name '*.syso' \) -delete
for tool in addr2line dist distpack fix nm objdump pprof preprofile trace; do
    rm -f /usr/lib/go-1.24/pkg/tool/*/$tool
done
# gcc's optimizer for whole programs, its thread sanitizer, and static copies of the others.
rm -f /usr/libexec/gcc/*/*/lto1 /usr/bin/*lto-dump* /usr/bin/*gprofng* /usr/lib/gcc/*/*/lib*san.a
rm -f /usr/lib/*-linux-gnu/libtsan.so* /usr/lib/*-linux-gnu/libhwasan.so*
rm -f /usr/bin/rustdoc
strip --strip-debug /usr/lib/rustlib/*/lib/*.rlib

# Go has no compiled standard library. A build of it takes a minute of one core, so it runs during the next steps.
# The user cannot write to this cache, so /usr/local/bin/go makes one with links to it.
compile_go() {
    HOME=/run/build GOCACHE=/usr/lib/go-build GOTOOLCHAIN=local /usr/bin/go build $(
        HOME=/run/build GOTOOLCHAIN=local /usr/bin/go list std |
            grep -vE '^(debug|go|internal/trace|internal/testenv|net/rpc|plugin|runtime/race)(/|$)'
    )
}
compile_go &
compiling_go=$!

echo '==> making a smaller JDK'
# It has all modules of Java SE and those of javac, compressed. Its archives of classes halve the start of javac.
jdk=$(dirname "$(dirname "$(readlink -f /usr/bin/javac)")")
$jdk/bin/jlink --output /run/build/jdk --compress zip-6 --strip-debug --no-header-files --no-man-pages --add-modules \
    java.se,jdk.compiler,jdk.jartool,jdk.jshell,jdk.charsets,jdk.crypto.ec,jdk.httpserver,jdk.management,jdk.net,jdk.random,jdk.unsupported,jdk.zipfs
rm -rf $jdk
cp -r /run/build/jdk $jdk
ln -sf /etc/ssl/certs/java/cacerts $jdk/lib/security/cacerts
$jdk/bin/java -Xshare:dump > /dev/null
mkdir /run/build/java
echo 'public class Main { public static void main(String[] args) { System.out.println(args.length); } }' > /run/build/java/Main.java
$jdk/bin/javac -J-XX:ArchiveClassesAtExit=/usr/lib/javac.jsa -J-XX:+UseSerialGC -d /run/build/java /run/build/java/Main.java

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
# The kernel has TypeScript's compiler. It looks for types in node_modules of each folder above the code.
ln -s ../lib/javascript-kernel/node_modules/@tslab/typescript-for-tslab/bin/tsc /usr/local/bin/tsc
mkdir -p /node_modules/@types
ln -s $kernel/node_modules/@types/node /node_modules/@types/node

wait $compiling_go
rm -f /usr/lib/go-build/trim.txt
chmod 755 /run/build/recipe/files/usr/local/bin/*

