# Makes this system the files of the stock image, as cellhold image build does with mmdebstrap. The stage rootfs of the
# Dockerfile runs it as root, with network access. /run/build/recipe has the recipe.
set -eu
build=/run/build
export DEBIAN_FRONTEND=noninteractive
cat > /etc/dpkg/dpkg.cfg.d/cellhold <<'END'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
END
apt-get update -qq -o Acquire::Retries=3
# shellcheck disable=SC2046 # names of packages are words
apt-get install -qq -y -o Acquire::Retries=3 --no-install-recommends $(sed 's/#.*//' $build/recipe/packages.txt)
{
	echo 'export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CERT=/etc/ssl/certs/ca-certificates.crt' # with the authorities of the base image
	for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST; do
		eval "value=\${$name:-}"
		[ -z "$value" ] || echo "export $name='$value'"
	done
} > $build/env.sh
# The engine mounts these three files into a container, so the stage that copies this system writes them.
grep -v -e ' /etc/hostname$' -e ' /etc/hosts$' -e '/etc/resolv.conf$' $build/recipe/build.sh > $build/build.sh
sh $build/build.sh
