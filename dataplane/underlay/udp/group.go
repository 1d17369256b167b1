package udp

import (
	"unsafe"

	"github.com/warrenvpn/warren/dataplane"
)

const (
	// maxSegments is how many frames the kernel cuts out of one buffer (UDP_MAX_SEGMENTS before Linux 6.9).
	maxSegments = 64
	// maxGroup is the largest UDP payload in bytes over IPv4.
	maxGroup = 65507
)

// groupLen returns how many of the frames, from the first, may leave as one buffer: equal in path, TOS, DF and size, the
// last may be shorter.
func groupLen(frames []dataplane.Frame) int {
	first := &frames[0]
	size, total := len(first.Data), len(first.Data)
	n := 1
	for n < len(frames) && n < maxSegments {
		f := &frames[n]
		if f.Path != first.Path || f.TOS != first.TOS || f.DF != first.DF || len(f.Data) > size || total+len(f.Data) > maxGroup {
			break
		}
		total += len(f.Data)
		n++
		if len(f.Data) < size {
			break
		}
	}
	return n
}

// adjacent says whether b follows a in memory, so that one vector holds both. It compares numbers: the byte behind a may be
// nobody's, and a pointer must not lead there.
func adjacent(a, b []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(a)))+uintptr(len(a)) == uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}
