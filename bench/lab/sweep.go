//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sweep removes what labs left behind whose process ended without closing them: namespaces, directories, and the control
// sockets of wireguard-go. That something is gone already is no error: another process may be sweeping too.
func sweep() {
	for _, path := range leftBehind("/run/netns/" + namePrefix + "*") {
		_ = ip("netns", "del", filepath.Base(path))
	}
	for _, path := range leftBehind(filepath.Join(os.TempDir(), namePrefix+"*")) {
		_ = os.RemoveAll(path)
	}
	sockets, _ := filepath.Glob(wireGuardSocket("wg*x*"))
	for _, path := range sockets {
		if pid := wireGuardOwner(filepath.Base(path)); pid != 0 && ended(pid) {
			_ = os.Remove(path)
		}
	}
}

// wireGuardOwner is the process that made a wireguard-go of a name, 0 for none. The last x ends its number, which may have others.
func wireGuardOwner(name string) int {
	number := strings.TrimPrefix(name[:max(0, strings.LastIndexByte(name, 'x'))], "wg")
	pid, err := strconv.ParseInt(number, wireGuardBase, 32)
	if err != nil {
		return 0
	}
	return int(pid)
}

// leftBehind lists the files of a pattern whose name carries the id of a lab whose process has ended.
func leftBehind(pattern string) (paths []string) {
	all, _ := filepath.Glob(pattern) // the patterns are ours and well formed
	for _, path := range all {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), namePrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && ended(pid) {
			paths = append(paths, path)
		}
	}
	return paths
}

// ended says whether there is no such process, or only its exit status that nobody has fetched.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return os.IsNotExist(err)
	}
	// The command's name stands in parentheses and may hold any character; the state follows the last of them.
	return bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" Z"))
}
