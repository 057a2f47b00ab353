package process

import "maps"

// passive makes the threads of OpenMP sleep while they wait, in the runtimes of GNU and of Intel. Their default is to
// spin, which uses up the processor time of a session that has fewer processors than threads, or shares one.
var passive = map[string]string{"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}

// basics is the environment that every program starts from. What a kernelspec or the session says wins.
func (l *Launcher) basics() map[string]string {
	vars := map[string]string{
		"HOME": l.options.Home,
		"USER": l.options.User,
		"PATH": l.options.Path,
		"LANG": "C.UTF-8",
	}
	maps.Copy(vars, passive)
	return vars
}
