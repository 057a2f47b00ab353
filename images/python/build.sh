# Runs as root inside the new image, with the network. /run/build holds this recipe (recipe/)
# and env.sh, which carries the host's settings of pip. Lines that start with ==> are shown.
set -eu
recipe=/run/build/recipe
lib=/usr/local/lib/python3.13/dist-packages
. /run/build/env.sh

# In one archive, in which locales that sort alike share their tables. It takes a minute of a core: it runs
# while the packages come.
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
# Folders of other services, for which models write code.
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
# It keeps pip from a system that apt manages; nothing but the session lives here.
rm -f /usr/lib/python3.13/EXTERNALLY-MANAGED
# The uv on PATH is ours, and pip begins with ours: they ask the server for packages.
mkdir -p /usr/local/lib/cellhold
mv /usr/local/bin/uv /usr/local/lib/cellhold/uv
cp -r $recipe/files/. /
chmod 755 /usr/local/bin/uv
printf '\n\nimport cellhold_pip\n\n_main = cellhold_pip.in_front_of(_main)\n' >> $lib/pip/_internal/cli/main.py
# Of Unifont only the upper planes are wanted; the rest would win over better fonts.
find /usr/share/fonts/opentype/unifont -type f ! -name unifont_upper.otf -delete
rm -f /usr/share/fonts/opentype/unifont/unifont_upper_sample.otf

wait $locales
# Code names a locale also without its encoding.
mkdir -p /usr/share/locale
sed -n 's/^\([a-z][A-Za-z_]*\).*/\1 \1.UTF-8/p' $recipe/locales.txt > /usr/share/locale/locale.alias

echo '==> trimming'
# Test suites are a tenth of the image. numpy's stay: numpy.testing imports from them.
for package in bokeh bs4 h5py matplotlib mpl_toolkits mpmath networkx pandas patsy pyarrow scipy sklearn statsmodels sympy; do
    find $lib/$package -type d -name tests -prune -exec rm -rf {} +
done
rm -rf $lib/pyarrow/include $lib/pyarrow/src $lib/lxml/includes $lib/plotly/labextension
# What compiled parts were made of, and what serves other systems.
find $lib -type f \( -name '*.c' -o -name '*.cpp' -o -name '*.a' \) -delete
rm -rf $lib/debugpy/_vendored/pydevd/pydevd_attach_to_process/windows $lib/debugpy/_vendored/pydevd/pydevd_attach_to_process/winappdbg
# What completion knows of packages that are not there; those that are bring their types or are read.
rm -rf $lib/jedi/third_party/typeshed/stubs $lib/jedi/third_party/django-stubs
# Bokeh's JavaScript is there twice; pages get the small form.
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
# The image is read-only and shared, so Python could not keep what it compiles later. The hash
# form does not look at file times, which an export and import may lose.
find / -xdev -name __pycache__ -prune -exec rm -rf {} +
python3 -m compileall -q -j0 --invalidation-mode unchecked-hash /usr/lib/python3.13 /usr/lib/python3 $lib
rm -rf /root/.cache /root/.config /var/tmp
ln -s /tmp /var/tmp
