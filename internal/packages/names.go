package packages

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// People and models often request a package by the name of its module. Most packages have the name of their module.
// For the others, the index often has no package of that name, a different one, or a malicious one. The tables
// contain only widely used packages.

// importNames maps the name of a module, or of a package that does not work here, to the package that provides it.
var importNames = sync.OnceValue(func() map[string]string {
	table := map[string]string{}
	for _, pair := range strings.Fields(`
		attr=attrs barcode=python-barcode bio=biopython bs4=beautifulsoup4 cairo=pycairo camelot=camelot-py
		cgi=legacy-cgi community=python-louvain crypto=pycryptodome cv2=opencv-python-headless dateutil=python-dateutil
		distutils=setuptools dns=dnspython docx=python-docx dotenv=python-dotenv faiss=faiss-cpu ffmpeg=ffmpeg-python
		fitz=pymupdf git=gitpython github=pygithub google-protobuf=protobuf imblearn=imbalanced-learn jose=python-jose
		ldap=python-ldap magic=python-magic mpl-toolkits=matplotlib mysqldb=mysqlclient nacl=pynacl nmap=python-nmap
		openssl=pyopenssl pdfminer=pdfminer-six pil=pillow pkg-resources=setuptools pptx=python-pptx pylab=matplotlib
		pytorch=torch rest-framework=djangorestframework serial=pyserial shapefile=pyshp skimage=scikit-image
		sklearn=scikit-learn skopt=scikit-optimize slugify=python-slugify snappy=python-snappy socks=pysocks
		tabula=tabula-py telegram=python-telegram-bot umap=umap-learn usb=pyusb vlc=python-vlc websocket=websocket-client
		whois=python-whois yaml=pyyaml zmq=pyzmq`) {
		name, holder, _ := strings.Cut(pair, "=")
		table[name] = holder
	}
	return table
})

// headless maps packages that need the libraries of a screen to the same packages without them.
var headless = map[string]string{
	"opencv-python":         "opencv-python-headless",
	"opencv-contrib-python": "opencv-contrib-python-headless",
}

// library are the modules of the standard library of current Python versions. Packages with these names in the index are
// obsolete or malicious, and could not be imported anyway: the standard library comes first. Modules that distributions omit,
// such as tkinter, are not listed.
var library = sync.OnceValue(func() map[string]bool {
	table := map[string]bool{}
	for _, name := range strings.Fields(`
		abc argparse array ast asyncio atexit base64 bdb binascii bisect builtins bz2 calendar cmath cmd code codecs
		codeop collections colorsys compileall concurrent concurrent-futures configparser contextlib contextvars copy
		copyreg csv ctypes dataclasses datetime decimal difflib dis doctest email encodings enum errno faulthandler
		fcntl filecmp fileinput fnmatch fractions ftplib functools gc getopt getpass gettext glob graphlib grp gzip
		hashlib heapq hmac html http imaplib importlib inspect io ipaddress itertools json keyword linecache locale
		logging lzma mailbox marshal math mimetypes mmap modulefinder multiprocessing netrc numbers operator optparse
		os pathlib pdb pickle pickletools pkgutil platform plistlib poplib posix posixpath pprint profile pstats pty
		pwd py-compile pyclbr pydoc queue quopri random re readline reprlib resource rlcompleter runpy sched secrets
		select selectors shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl stat statistics string
		stringprep struct subprocess symtable sys sysconfig syslog tarfile tempfile termios textwrap threading time
		timeit token tokenize tomllib trace traceback tracemalloc tty types typing unicodedata unittest urllib uuid
		warnings wave weakref webbrowser wsgiref xml xmlrpc zipapp zipfile zipimport zlib zoneinfo`) {
		table[name] = true
	}
	return table
})

// tools install packages and belong to the image: another version would not be configured for the server.
var tools = []string{"pip", "uv"}

// resolved is a request with the names of packages.
type resolved struct {
	list    []Requirement
	notes   []string          // notes for people, each a sentence
	modules []string          // requested modules of the standard library
	asked   map[string]string // the requested names, by the names that replace them
}

// resolve replaces names by those of the intended packages. It keeps a name if keep reports that the operator has such a
// package, or if the requirement has a hash.
func resolve(list []Requirement, keep func(name string) bool) resolved {
	r := resolved{asked: map[string]string{}}
	note := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); len(r.notes) < maxNotes && !slices.Contains(r.notes, text) {
			r.notes = append(r.notes, text)
		}
	}
	for _, q := range list {
		name := q.Name
		if len(q.Hashes) > 0 || !special(name) || keep(name) { // keep may read a folder, so it comes last
			r.list = append(r.list, q)
			continue
		}
		switch {
		case library()[name]:
			note("%s is part of Python. There is nothing to install.", name)
			r.modules = append(r.modules, strings.ReplaceAll(name, "-", "_"))
			continue
		case slices.Contains(tools, name):
			note("%s belongs to the image and is not changed.", name)
			continue
		case headless[name] != "":
			q.Name = headless[name]
			note("%s needs the libraries of a screen (libGL). %s is used instead: it is the same without them.", name, q.Name)
		case importNames()[name] != "":
			q.Name = importNames()[name]
			note("%s is not the name of the package. The package %s is used instead.", name, q.Name)
			if name == "sklearn" { // drop versions of the wrong package of this name
				q.Specs = slices.DeleteFunc(slices.Clone(q.Specs), func(spec string) bool { return strings.HasPrefix(spec, "==0.0") })
			}
		}
		if q.Name != name {
			r.asked[q.Name] = name
		}
		r.list = append(r.list, q)
	}
	return r
}

// special reports whether a name may need replacement.
func special(name string) bool {
	return library()[name] || slices.Contains(tools, name) || headless[name] != "" || importNames()[name] != ""
}

// maxNotes bounds the notes about names.
const maxNotes = 50
