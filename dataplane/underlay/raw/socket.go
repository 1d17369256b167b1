package raw

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/sock"
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

// ErrPrivilege says that the process may not open raw sockets.
var ErrPrivilege = errors.New("ESP without UDP needs root (CAP_NET_RAW); `encap: always` needs no privilege")

// Socket is an underlay of IP protocol 50.
type Socket struct {
	cfg       Config
	place     sock.Place
	socks     *sock.Sockets
	receivers []dataplane.Receiver
}

// Open opens the sockets.
func Open(cfg Config) (*Socket, error) {
	if cfg.Queues < 1 {
		cfg.Queues = 1
	}
	s := &Socket{cfg: cfg,
		place: sock.Place{V6: cfg.Local.Is6(), Device: cfg.Device, Mark: cfg.Mark, NetNS: cfg.NetNS, Buffer: cfg.Buffer}}
	var err error
	if s.socks, err = sock.New(); err != nil {
		return nil, fmt.Errorf("open ESP underlay: %w", err)
	}
	if err := s.place.Do(s.open); err != nil {
		s.socks.Close()
		return nil, fmt.Errorf("open ESP underlay on %v: %w", cfg.Local, err)
	}
	for i := range s.socks.Queues {
		s.receivers = append(s.receivers, &receiver{s, s.socks.NewQueue(i, s.place.V6, slots, slotLen)})
	}
	return s, nil
}

func (s *Socket) open() (err error) {
	for i := range s.cfg.Queues {
		fd, err := s.socket(false, spiFilter(s.place.V6, uint32(s.cfg.Queues), uint32(i)))
		if err != nil {
			return err
		}
		s.socks.Queues = append(s.socks.Queues, fd)
	}
	s.socks.ClearDF, err = s.socket(true, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}})
	return err
}

// spiFilter lets through packets whose SPI modulo n is i, and to the first socket those that are too short to have one. On IPv4 the
// socket sees the IP header, which BPF_MSH measures; on IPv6 it does not.
func spiFilter(v6 bool, n, i uint32) []unix.SockFilter {
	const everything, nothing = 0xffffffff, 0
	short := uint32(nothing)
	if i == 0 {
		short = everything
	}
	measure := []unix.SockFilter{
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN},
		{Code: unix.BPF_ALU | unix.BPF_SUB | unix.BPF_X},
	}
	if v6 {
		measure = []unix.SockFilter{
			{Code: unix.BPF_LDX | unix.BPF_W | unix.BPF_IMM, K: 0},
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN},
		}
	}
	return append(measure,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jt: 1, K: 4},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: short},
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_IND, K: 0},
		unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: n},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: i},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: everything},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: nothing})
}

// socket makes one socket. The filter is there before the socket is bound, so that nothing comes past it.
func (s *Socket) socket(clearDF bool, filter []unix.SockFilter) (int, error) {
	fd, err := s.place.Socket(unix.SOCK_RAW, protocolESP)
	if errors.Is(err, unix.EPERM) {
		return -1, ErrPrivilege
	}
	if err != nil {
		return -1, err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		err = fmt.Errorf("attach filter: %w", err)
	} else {
		err = s.place.Prepare(fd, s.Local(), clearDF)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Name implements dataplane.Underlay.
func (s *Socket) Name() string { return "esp " + s.cfg.Local.String() }

// Local implements dataplane.Underlay; the port is 0.
func (s *Socket) Local() netip.AddrPort { return netip.AddrPortFrom(s.cfg.Local, 0) }

// Encap implements dataplane.Underlay.
func (s *Socket) Encap() dataplane.Encap { return dataplane.Encap{IPv6: s.place.V6} }

// Protocol is the IP protocol that frames are sent as.
func (s *Socket) Protocol() uint8 { return protocolESP }

// Receivers implements dataplane.Underlay.
func (s *Socket) Receivers() []dataplane.Receiver { return s.receivers }

// PathMTU implements dataplane.Underlay: the MTU of the route that a connected socket finds.
func (s *Socket) PathMTU(remote netip.Addr) (int, error) { return s.place.PathMTU(remote) }

// Close implements dataplane.Underlay.
func (s *Socket) Close() error {
	s.socks.Close()
	return nil
}
