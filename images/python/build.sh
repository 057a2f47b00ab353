# Runs as root inside the new image, with network access. /run/build has this recipe (recipe/),
# and env.sh with the host's settings for pip. Lines that start with ==> are shown to the user.
set -eu
recipe=/run/build/recipe
lib=/usr/local/lib/python3.13/dist-packages
. /run/build/env.sh

# Compiles the locales into one archive, in which locales with the same sort order share their tables. This takes a
# minute of one core, so it runs during the download of the packages.
compile_locales() {
    for name in $(grep -o '^[a-z][A-Za-z_]*' $recipe/locales.txt); do
        localedef -i "$name" -f UTF-8 "$name.UTF-8" || return
    done
}
compile_locales &
locales=$!

echo '==> downloading and installing the Python packages'
set -- /usr/share/python-wheels/pip-*.whl
PYTHONPATH=$1 python3 -m pip install --break-system-packages --root-user-action=ignore \
    --require-hashes --only-binary=:all: --no-deps --no-compile --no-cache-dir \
    --progress-bar off --no-input -r $recipe/requirements.lock

echo '==> setting up the user, the fonts and the locales'
echo 'user:x:1000:1000:user:/home/user:/bin/bash' >> /etc/passwd
echo 'user:x:1000:' >> /etc/group
mkdir -p /home/user /workspace
# Models write code for these folders of other services.
mkdir -p /mnt/user-data /kaggle
for folder in /content /kaggle/working /home/sandbox /mnt/user-data/uploads; do
    ln -s /workspace $folder
done
ln -s /mnt/data /kaggle/input
ln -s /mnt/data/output /mnt/user-data/outputs
echo cellhold > /etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
rm -f /etc/resolv.conf
ln -s /usr/bin/python3 /usr/local/bin/python
# This file stops pip on systems that apt manages. In a sandbox no other program needs the packages.
rm -f /usr/lib/python3.13/EXTERNALLY-MANAGED
# The uv on PATH is our script, and pip calls our module first. Both ask the server for packages.
mkdir -p /usr/local/lib/cellhold
mv /usr/local/bin/uv /usr/local/lib/cellhold/uv
cp -r $recipe/files/. /
chmod 755 /usr/local/bin/uv
printf '\n\nimport cellhold_pip\n\n_main = cellhold_pip.wrap_main(_main)\n' >> $lib/pip/_internal/cli/main.py
# Keep only the upper planes of Unifont. Programs would prefer the rest to better fonts.
find /usr/share/fonts/opentype/unifont -type f ! -name unifont_upper.otf -delete
rm -f /usr/share/fonts/opentype/unifont/unifont_upper_sample.otf

wait $locales
# Code can also name a locale without its encoding.
mkdir -p /usr/share/locale
sed -n 's/^\([a-z][A-Za-z_]*\).*/\1 \1.UTF-8/p' $recipe/locales.txt > /usr/share/locale/locale.alias

echo '==> trimming'
# Test suites are a tenth of the image. numpy's stay: numpy.testing imports from them.
for package in bokeh bs4 h5py matplotlib mpl_toolkits mpmath networkx pandas patsy pyarrow scipy sklearn statsmodels sympy; do
    find $lib/$package -type d -name tests -prune -exec rm -rf {} +
done
rm -rf $lib/pyarrow/include $lib/pyarrow/src $lib/lxml/includes $lib/plotly/labextension
# Sources of compiled parts, and files for other systems.
find $lib -type f \( -name '*.c' -o -name '*.cpp' -o -name '*.a' \) -delete
rm -rf $lib/debugpy/_vendored/pydevd/pydevd_attach_to_process/windows $lib/debugpy/_vendored/pydevd/pydevd_attach_to_process/winappdbg
# Type stubs for packages that are not installed. For installed packages, completion reads their own types or sources.
rm -rf $lib/jedi/third_party/typeshed/stubs $lib/jedi/third_party/django-stubs
# Bokeh has its JavaScript twice; pages use the minified files.
for small in $lib/bokeh/server/static/js/*.min.js; do
    rm -f "${small%.min.js}.js"
done
rm -rf /usr/share/i18n /etc/locale.alias /usr/share/zsh
rm -rf /var/lib/dpkg/info/*.md5sums /var/log/*

echo '==> adapting fonts and libraries'
python3 $recipe/fonts.py
python3 $recipe/fontnames.py
python3 $recipe/libraries.py

echo '==> compiling'
# The image is read-only and shared, so Python cannot save modules that it compiles later. Modules with unchecked
# hashes do not depend on file times, which an export and import can lose.
find / -xdev -name __pycache__ -prune -exec rm -rf {} +
python3 -m compileall -q -j0 --invalidation-mode unchecked-hash /usr/lib/python3.13 /usr/lib/python3 $lib
rm -rf /root/.cache /root/.config /var/tmp
ln -s /tmp /var/tmp
