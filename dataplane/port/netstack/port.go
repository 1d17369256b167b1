package netstack

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/warrenvpn/warren/dataplane"
)

// nicID is the stack's one interface.
const nicID tcpip.NICID = 1

// Buffer sizes in bytes. TCP tunes its own between them by what the path can carry; 8 MiB is 640 Mbit/s at 100 ms.
const (
	tcpBufferDefault = 1 << 20
	tcpBufferMax     = 8 << 20
	udpBufferDefault = 1 << 20
	udpBufferMax     = 8 << 20
)

// Port is a [dataplane.Port] whose far side is a TCP/IP stack of its own.
type Port struct {
	cfg     Config
	stack   *stack.Stack
	link    *link
	readers []dataplane.PortReader
	forward forwarding

	mu        sync.Mutex
	addresses []netip.Prefix
	closed    bool
	open      map[io.Closer]struct{} // connections and listeners, to be closed with the port
	done      chan struct{}          // closed once the port is closed
}

// New builds a stack. It starts goroutines of the stack's TCP, which end with Close.
func New(cfg Config) (*Port, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure netstack %q: %w", cfg.Name, err)
	}
	p := &Port{
		cfg:  cfg,
		link: newLink(cfg.MTU, cfg.Queues, cfg.QueueBytes),
		open: make(map[io.Closer]struct{}),
		done: make(chan struct{}),
	}
	for _, q := range p.link.queues {
		p.readers = append(p.readers, &reader{q: q})
	}
	p.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocolCUBIC, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
	})
	if err := p.setUp(); err != nil {
		p.Close()
		return nil, fmt.Errorf("set up netstack %q: %w", cfg.Name, err)
	}
	return p, nil
}

func (p *Port) setUp() error {
	if err := tune(p.stack); err != nil {
		return err
	}
	p.forward.init(p)
	if err := p.stack.CreateNIC(nicID, p.link); err != nil {
		return fmt.Errorf("create the interface: %w", errorOf(err))
	}
	p.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nicID},
		{Destination: header.IPv6EmptySubnet, NIC: nicID},
	})
	for _, a := range p.cfg.Addresses {
		if err := p.AddAddress(a); err != nil {
			return err
		}
	}
	if !p.cfg.Forwarding {
		return nil
	}
	for _, proto := range []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
		if err := p.stack.SetForwardingDefaultAndAllNICs(proto, true); err != nil {
			return fmt.Errorf("turn forwarding on: %w", errorOf(err))
		}
	}
	return nil
}

// tune sets what suits a tunnel: windows for long paths, buffers that grow with the path, SACK. RACK (RFC 8985) is off: where a
// burst is lost, as in a queue that is full, gVisor's sends a few segments again for each retransmission timeout and then waits for
// the next, which made 20 s of 1 MiB that take 0.2 s without.
func tune(s *stack.Stack) error {
	sack := tcpip.TCPSACKEnabled(true)
	recovery := tcpip.TCPRecovery(0)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcpBufferDefault, Max: tcpBufferMax}
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcpBufferDefault, Max: tcpBufferMax}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &moderate, &rcv, &snd} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("set TCP's %T: %w", o, errorOf(err))
		}
	}
	for _, o := range []any{
		tcpip.SendBufferSizeOption{Min: stack.MinBufferSize, Default: udpBufferDefault, Max: udpBufferMax},
		tcpip.ReceiveBufferSizeOption{Min: stack.MinBufferSize, Default: udpBufferDefault, Max: udpBufferMax},
	} {
		if err := s.SetOption(o); err != nil {
			return fmt.Errorf("set %T: %w", o, errorOf(err))
		}
	}
	return nil
}

// Name returns the name in the Config.
func (p *Port) Name() string { return p.cfg.Name }

// MTU returns the stack's MTU in bytes.
func (p *Port) MTU() int { return int(p.link.MTU()) }

// Readers returns the receive queues.
func (p *Port) Readers() []dataplane.PortReader { return p.readers }

// NewWriter returns a sender for one worker's use.
func (p *Port) NewWriter() dataplane.PortWriter {
	return &writer{link: p.link, whole: p.cfg.Forwarding}
}

// SetMTU changes the MTU. New connections keep to it; those that stand learn a smaller one as from any router on the
// way, by packet-too-big.
func (p *Port) SetMTU(mtu int) error {
	six := false
	for _, a := range p.Addresses() {
		six = six || a.Addr().Is6()
	}
	if err := checkMTU(mtu, six); err != nil {
		return fmt.Errorf("set MTU of %q: %w", p.cfg.Name, err)
	}
	if err := p.stack.SetNICMTU(nicID, uint32(mtu)); err != nil {
		return fmt.Errorf("set MTU of %q: %w", p.cfg.Name, errorOf(err))
	}
	return nil
}

// AddAddress gives the stack one more address.
func (p *Port) AddAddress(a netip.Prefix) error {
	if err := checkPrefix(a); err != nil {
		return fmt.Errorf("add to %q: %w", p.cfg.Name, err)
	}
	if a.Addr().Is6() {
		if err := checkMTU(p.MTU(), true); err != nil {
			return fmt.Errorf("add %v to %q: %w", a, p.cfg.Name, err)
		}
	}
	err := p.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
		Protocol: protocolOf(a.Addr()),
		AddressWithPrefix: tcpip.AddressWithPrefix{
			Address:   tcpip.AddrFromSlice(a.Addr().AsSlice()),
			PrefixLen: a.Bits(),
		},
	}, stack.AddressProperties{})
	if err != nil {
		return fmt.Errorf("add %v to %q: %w", a, p.cfg.Name, errorOf(err))
	}
	p.mu.Lock()
	p.addresses = append(p.addresses, a)
	p.publishOwn()
	p.mu.Unlock()
	return nil
}

// RemoveAddress takes an address away. Connections that use it may go on until they end; there are no new ones.
func (p *Port) RemoveAddress(a netip.Addr) error {
	if err := p.stack.RemoveAddress(nicID, tcpip.AddrFromSlice(a.AsSlice())); err != nil {
		return fmt.Errorf("remove %v from %q: %w", a, p.cfg.Name, errorOf(err))
	}
	p.mu.Lock()
	p.addresses = slices.DeleteFunc(p.addresses, func(q netip.Prefix) bool { return q.Addr() == a })
	p.publishOwn()
	p.mu.Unlock()
	return nil
}

// publishOwn tells the link which addresses are the stack's. The caller holds p.mu.
func (p *Port) publishOwn() {
	own := make(map[tcpip.Address]struct{}, len(p.addresses))
	for _, a := range p.addresses {
		own[tcpip.AddrFromSlice(a.Addr().AsSlice())] = struct{}{}
	}
	p.link.own.Store(&own)
}

// Addresses returns the stack's own addresses, with the lengths of their networks.
func (p *Port) Addresses() []netip.Prefix {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.addresses)
}

// Stats are a port's counters since it was made.
type Stats struct {
	// QueueFull is how many packets the stack sent that found the receive queue full.
	QueueFull uint64
	// TCPRetransmits is how many segments TCP sent again.
	TCPRetransmits uint64
	// ChecksumErrors is how many received packets had a wrong TCP or UDP checksum.
	ChecksumErrors uint64
}

// Stats returns the counters.
func (p *Port) Stats() Stats {
	s := p.stack.Stats()
	out := Stats{
		TCPRetransmits: s.TCP.Retransmits.Value(),
		ChecksumErrors: s.TCP.ChecksumErrors.Value() + s.UDP.ChecksumErrors.Value(),
	}
	for _, q := range p.link.queues {
		out.QueueFull += q.dropped.Load()
	}
	return out
}

// Close resets every connection, wakes whoever waits in one, and wakes the readers, which find the resets before the end.
// When it returns, the stack's goroutines are gone and those of handlers (HandleTCP, HandleUDP) that have seen their
// connection fail. It may be called twice.
func (p *Port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.done
		return nil
	}
	p.closed = true
	open := p.open
	p.open = nil
	p.mu.Unlock()
	defer close(p.done)

	p.forward.close()
	for c := range open {
		c.Close()
	}
	p.stack.Close()
	for _, t := range []tcpip.TransportProtocolNumber{
		tcp.ProtocolNumber, udp.ProtocolNumber, icmp.ProtocolNumber4, icmp.ProtocolNumber6,
	} {
		p.stack.TransportProtocolInstance(t).Wait()
	}
	p.link.Attach(nil)
	p.link.Close()
	p.stack.RemoveNIC(nicID)
	p.forward.wait()
	return nil
}

// register remembers what has to be closed with the port. It reports false, and closes c, where that has happened.
func (p *Port) register(c io.Closer) bool {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.open[c] = struct{}{}
	}
	p.mu.Unlock()
	if closed {
		c.Close()
	}
	return !closed
}

func (p *Port) forget(c io.Closer) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}
