package raw

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/netns"
	"github.com/warrenvpn/warren/dataplane/internal/wait"
)

// protocolESP is the one that SPI filters understand.
const protocolESP = 50

// Config says where the underlay sends from.
type Config struct {
	// Local is the address; an unspecified one takes all of its family.
	Local netip.Addr
	// Device binds to a network device; Mark is the packets' fwmark, 0 for none.
	Device string
	Mark   uint32
	// NetNS is the network namespace that the sockets are born in; "" for the process's own.
	NetNS string
	// Queues is how many workers receive; at least 1.
	Queues int
	// Buffer is the size of the sockets' buffers in bytes; 0 for 8 MiB.
	Buffer int
}

const defaultBuffer = 8 << 20

// ErrPrivilege says that the process may not open raw sockets.
var ErrPrivilege = errors.New("ESP without UDP needs root (CAP_NET_RAW); `encap: always` needs no privilege")

// Socket is an underlay of IP protocol 50.
type Socket struct {
	cfg       Config
	v6        bool
	waker     *wait.Waker
	fds       []int // one for each queue
	clearDF   int   // leaves DF clear, or -1
	receivers []dataplane.Receiver

	closed atomic.Bool
	mu     sync.Mutex
	users  []*sync.Mutex // one for each receiver and sender, held while it uses the descriptors
}

// Open opens the sockets.
func Open(cfg Config) (*Socket, error) {
	if cfg.Queues < 1 {
		cfg.Queues = 1
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = defaultBuffer
	}
	s := &Socket{cfg: cfg, v6: cfg.Local.Is6(), clearDF: -1}
	var err error
	if s.waker, err = wait.NewWaker(); err != nil {
		return nil, fmt.Errorf("open ESP underlay: %w", err)
	}
	if err := netns.Do(cfg.NetNS, s.open); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open ESP underlay on %v: %w", cfg.Local, err)
	}
	for i, fd := range s.fds {
		other := -1
		if i == 0 {
			other = s.clearDF
		}
		s.receivers = append(s.receivers, newReceiver(s, fd, other))
	}
	return s, nil
}

func (s *Socket) open() (err error) {
	for i := range s.cfg.Queues {
		fd, err := s.socket(false, spiFilter(s.v6, uint32(s.cfg.Queues), uint32(i)))
		if err != nil {
			return err
		}
		s.fds = append(s.fds, fd)
	}
	s.clearDF, err = s.socket(true, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}})
	return err
}

// spiFilter lets through packets whose SPI modulo n is i. On IPv4 the socket sees the IP header, which BPF_MSH measures;
// on IPv6 it does not. A packet that is too short to have an SPI ends the program and is discarded.
func spiFilter(v6 bool, n, i uint32) []unix.SockFilter {
	load := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	if !v6 {
		load = []unix.SockFilter{
			{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_IND, K: 0},
		}
	}
	return append(load,
		unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: n},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: i},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
}

// socket makes one socket. The filter is there before the socket is bound, so that nothing comes past it.
func (s *Socket) socket(clearDF bool, filter []unix.SockFilter) (fd int, err error) {
	family := unix.AF_INET
	if s.v6 {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocolESP)
	if errors.Is(err, unix.EPERM) {
		return -1, ErrPrivilege
	}
	if err != nil {
		return -1, fmt.Errorf("make raw socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, uintptr(unsafe.Pointer(&prog)), unsafe.Sizeof(prog), 0); errno != 0 {
		return -1, fmt.Errorf("attach filter: %w", errno)
	}
	if err = s.place(fd); err != nil {
		return -1, err
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], s.cfg.Buffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], s.cfg.Buffer)
		}
	}
	if err = s.options(fd, clearDF); err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, s.sockaddr(s.cfg.Local)); errors.Is(err, unix.EADDRNOTAVAIL) {
		return -1, fmt.Errorf("%v is not an address of this host: %w", s.cfg.Local, err)
	} else if err != nil {
		return -1, fmt.Errorf("bind: %w", err)
	}
	return fd, nil
}

func (s *Socket) place(fd int) error {
	if s.cfg.Device != "" {
		if err := unix.BindToDevice(fd, s.cfg.Device); err != nil {
			return fmt.Errorf("bind to device %q: %w", s.cfg.Device, err)
		}
	}
	if s.cfg.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(s.cfg.Mark)); err != nil {
			return fmt.Errorf("set mark %d, which needs CAP_NET_ADMIN: %w", s.cfg.Mark, err)
		}
	}
	return nil
}

func (s *Socket) options(fd int, clearDF bool) error {
	type option struct{ level, name, value int }
	want := []option{
		{unix.IPPROTO_IP, unix.IP_RECVERR, 1},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
	}
	if clearDF {
		want[1].value = unix.IP_PMTUDISC_DONT
	}
	if s.v6 {
		want = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
			{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1},
		}
		if clearDF {
			want[2].value, want[3].value = unix.IPV6_PMTUDISC_DONT, 0
		}
	}
	for _, o := range want {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d/%d: %w", o.level, o.name, err)
		}
	}
	return nil
}

func (s *Socket) sockaddr(a netip.Addr) unix.Sockaddr {
	if s.v6 {
		return &unix.SockaddrInet6{Addr: a.As16()}
	}
	return &unix.SockaddrInet4{Addr: a.As4()}
}

// Name implements dataplane.Underlay.
func (s *Socket) Name() string { return "esp " + s.cfg.Local.String() }

// Local implements dataplane.Underlay; the port is 0.
func (s *Socket) Local() netip.AddrPort { return netip.AddrPortFrom(s.cfg.Local, 0) }

// Encap implements dataplane.Underlay.
func (s *Socket) Encap() dataplane.Encap { return dataplane.Encap{IPv6: s.v6} }

// Protocol is the IP protocol that frames are sent as.
func (s *Socket) Protocol() uint8 { return protocolESP }

// Receivers implements dataplane.Underlay.
func (s *Socket) Receivers() []dataplane.Receiver { return s.receivers }

// PathMTU implements dataplane.Underlay: the MTU of the route that a connected socket finds.
func (s *Socket) PathMTU(remote netip.Addr) (mtu int, err error) {
	err = netns.Do(s.cfg.NetNS, func() error {
		family, level, name := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
		if s.v6 {
			family, level, name = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make socket: %w", err)
		}
		defer unix.Close(fd)
		if err := s.place(fd); err != nil {
			return err
		}
		to := s.sockaddr(remote)
		switch to := to.(type) {
		case *unix.SockaddrInet4:
			to.Port = 9
		case *unix.SockaddrInet6:
			to.Port = 9
		}
		if err := unix.Connect(fd, to); err != nil {
			return fmt.Errorf("find way: %w", err)
		}
		mtu, err = unix.GetsockoptInt(fd, level, name)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("path MTU to %v: %w", remote, err)
	}
	return mtu, nil
}

// user returns a new user's mutex. A worker takes it once a batch; nobody but Close ever contends for it.
func (s *Socket) user() *sync.Mutex {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := new(sync.Mutex)
	s.users = append(s.users, u)
	return u
}

// Close wakes every receiver and closes the sockets when no receiver or sender uses them any more.
func (s *Socket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.waker.Wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		u.Lock()
	}
	for _, fd := range append(s.fds, s.clearDF) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	s.waker.Close()
	for _, u := range s.users {
		u.Unlock()
	}
	return nil
}
