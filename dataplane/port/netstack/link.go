package netstack

import (
	"encoding/binary"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// maxSuper is how large a TCP super-packet the stack may send, in bytes with all headers: what an IPv4 length can say.
const maxSuper = 65535

// link is the stack's network interface: what the stack sends goes to the queues, what a worker writes goes to the
// dispatcher. It has no link layer and no addresses of one.
type link struct {
	mtu        atomic.Uint32
	queues     []*queue
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
	// own are the stack's addresses. Packets to them turn round here: the stack would do it itself (HandleLocal), but
	// then takes every source for its own while it takes packets for any address.
	own atomic.Pointer[map[tcpip.Address]struct{}]
	// takers have datagrams that the stack does not see, nil if there are none.
	takers atomic.Pointer[takers]
}

var _ stack.LinkEndpoint = (*link)(nil)
var _ stack.GSOEndpoint = (*link)(nil)

func newLink(mtu, queues, limit int) *link {
	l := &link{}
	l.mtu.Store(uint32(mtu))
	for range queues {
		l.queues = append(l.queues, newQueue(limit))
	}
	return l
}

// WritePackets takes packets from the stack, which may hold locks: it never waits. The packets of a flow take the same
// queue. TCP takes a refusal for a loss and slows down.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range pkts.AsSlice() {
		if l.isOwn(pkt) {
			l.turn(pkt)
			continue
		}
		if !l.queues[l.choose(pkt)].push(pkt) {
			return i, &tcpip.ErrNoBufferSpace{}
		}
	}
	return pkts.Len(), nil
}

func (l *link) isOwn(pkt *stack.PacketBuffer) bool {
	own := l.own.Load()
	if own == nil || len(pkt.NetworkHeader().Slice()) == 0 {
		return false
	}
	_, is := (*own)[pkt.Network().DestinationAddress()]
	return is
}

// turn delivers a packet to the stack that sent it. It may do so from here, as the stack's own loopback does: delivery
// only queues what needs an endpoint's lock.
func (l *link) turn(pkt *stack.PacketBuffer) {
	d := l.dispatcher.Load()
	if d == nil {
		return
	}
	v := buffer.NewViewSize(pkt.Size())
	copyPacket(v.AsSlice(), pkt)
	var o packet.Offload
	offloadOf(&o, pkt)
	complete(v.AsSlice(), &o)
	deliver(*d, v)
}

func (l *link) choose(pkt *stack.PacketBuffer) int {
	if len(l.queues) == 1 {
		return 0
	}
	switch pkt.TransportProtocolNumber {
	case header.TCPProtocolNumber, header.UDPProtocolNumber:
		if t := pkt.TransportHeader().Slice(); len(t) >= 4 {
			ports := binary.BigEndian.Uint32(t) * 0x9e3779b1
			return int(uint64(ports) * uint64(len(l.queues)) >> 32)
		}
	}
	return 0
}

// GSOMaxSize and SupportedGSO let the stack send super-packets with partial checksums.
func (l *link) GSOMaxSize() uint32               { return maxSuper }
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

func (l *link) MTU() uint32       { return l.mtu.Load() }
func (l *link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// Capabilities: none. What is received has its checksums verified by the stack, which is told of no exception, since it
// knows none for a single packet and nobody can vouch for a fragment's.
func (l *link) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityNone }

func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// Close wakes the readers.
func (l *link) Close() {
	for _, q := range l.queues {
		q.close()
	}
}

func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Wait()                                   {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) SetOnCloseAction(func())                 {}
