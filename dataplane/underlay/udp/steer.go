package udp

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// steer attaches to the group of sockets that fd belongs to a program that selects the socket: the first four bytes of
// the datagram, the SPI, modulo n. A datagram that is shorter comes to the first socket, since a load beyond the end ends
// the program with 0. The program sees the datagram from the UDP payload on.
func steer(fd, n int) error {
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(n)},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		uintptr(unsafe.Pointer(&prog)), unsafe.Sizeof(prog), 0)
	if errno != 0 {
		return fmt.Errorf("attach steering program: %w", errno)
	}
	return nil
}
