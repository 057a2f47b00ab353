# Runs as root inside the new image, with the network. /run/build holds this recipe (recipe/)
# and env.sh, which carries the host's settings of pip. Lines that start with ==> are shown.
set -eu
recipe=/run/build/recipe
lib=/usr/local/lib/python3.13/dist-packages
. /run/build/env.sh

echo '==> downloading and installing the Python packages'
set -- /usr/share/python-wheels/pip-*.whl
PYTHONPATH=$1 python3 -m pip install --break-system-packages --root-user-action=ignore \
    --require-hashes --only-binary=:all: --no-deps --no-compile --no-cache-dir \
    --progress-bar off --no-input -r $recipe/requirements.lock

echo '==> setting up the user and the fonts'
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
cp -r $recipe/files/. /
# Of Unifont only the upper planes are wanted; the rest would win over better fonts.
find /usr/share/fonts/opentype/unifont -type f ! -name unifont_upper.otf -delete
rm -f /usr/share/fonts/opentype/unifont/unifont_upper_sample.otf

echo '==> trimming'
# Test suites are a tenth of the image. numpy's stay: numpy.testing imports from them.
for package in bokeh matplotlib mpmath pandas pyarrow scipy sklearn sympy mpl_toolkits; do
    find $lib/$package -type d -name tests -prune -exec rm -rf {} +
done
rm -rf $lib/pyarrow/include $lib/pyarrow/src $lib/plotly/labextension
rm -rf /var/lib/dpkg/info/*.md5sums /var/log/*

python3 $recipe/fonts.py

echo '==> compiling'
# The image is read-only and shared, so Python could not keep what it compiles later. The hash
# form does not look at file times, which an export and import may lose.
find / -xdev -name __pycache__ -prune -exec rm -rf {} +
python3 -m compileall -q -j0 --invalidation-mode unchecked-hash /usr/lib/python3.13 /usr/lib/python3 $lib
rm -rf /root/.cache /root/.config /var/tmp
ln -s /tmp /var/tmp
