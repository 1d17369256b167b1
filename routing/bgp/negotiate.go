package bgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// ourOpen is the OPEN that we send. The capability of graceful restart is always in it: without families it says that we keep the
// routes of others, and that End-of-RIB markers are understood (RFC 4724 section 3).
func (m *Machine) ourOpen() *message.OpenMessage {
	n := m.neighbor
	o := &message.OpenMessage{
		AS: n.localAS(m.local), HoldTime: uint16(n.Timers.Hold / time.Second), RouterID: m.local.RouterID,
		Families: n.Families, RouteRefresh: true, FourOctetAS: true, ExtendedNextHop: n.ExtendedNextHop,
		Graceful: &message.Graceful{RestartTime: uint16(n.RestartTime / time.Second)},
	}
	if n.RestartTime > 0 {
		o.Graceful.Restarting = m.resuming
		for _, f := range n.Families.List() {
			o.Graceful.Families = append(o.Graceful.Families, message.GracefulFamily{Family: f, Forwarding: m.resuming})
		}
	}
	return o
}

// openError is an OPEN that we cannot accept, with what the neighbour is told.
type openError struct {
	err    error
	notify *message.NotificationError
}

// negotiate checks the neighbour's OPEN (RFC 4271 section 6.2) and joins it with ours.
func (m *Machine) negotiate(o *message.OpenMessage) (*Negotiated, *openError) {
	n := m.neighbor
	ibgp := n.IBGP(m.local)
	if o.AS != n.AS {
		return nil, refuse(message.OpenBadPeerAS, nil, "the neighbor says it is AS %d, wanted %d", o.AS, n.AS)
	}
	if o.RouterID == m.local.RouterID && ibgp {
		return nil, refuse(message.OpenBadIdentifier, nil, "the neighbor has our own router id %v", routerID(o.RouterID))
	}
	offered := o.Families
	if offered == 0 {
		offered = message.FamiliesOf(message.IPv4Unicast)
	}
	deal := &Negotiated{Open: o, Families: offered.Intersect(n.Families), Refresh: o.RouteRefresh, EndOfRIB: o.Graceful != nil}
	if deal.Families == 0 {
		return nil, refuse(message.OpenUnsupportedCapability, multiprotocol(n.Families),
			"the neighbor offers %v, wanted %v: no family in common", offered, n.Families)
	}
	if deal.Families != n.Families {
		m.do(Warning{fmt.Errorf("the neighbor offers %v, wanted %v: only %v is exchanged", offered, n.Families, deal.Families)})
	}
	if n.ExtendedNextHop && !o.ExtendedNextHop {
		m.do(Warning{errors.New("the neighbor does not offer IPv4 prefixes over IPv6 next hops (RFC 8950), which we do")})
	}
	deal.Options = message.Options{
		FourOctetAS: o.FourOctetAS, ExtendedNextHop: n.ExtendedNextHop && o.ExtendedNextHop, Families: deal.Families, IBGP: ibgp,
	}
	if n.EnforceFirstAS && !ibgp {
		deal.Options.FirstAS = n.AS
	}
	deal.setTimers(&n.Timers)
	if g := o.Graceful; g != nil && n.Helper && g.RestartTime > 0 {
		for _, f := range g.Families {
			deal.Kept |= message.FamiliesOf(f.Family)
		}
		deal.Kept = deal.Kept.Intersect(deal.Families)
		deal.RestartTime = min(time.Duration(g.RestartTime)*time.Second, n.maxStale())
	}
	return deal, nil
}

// setTimers chooses the smaller hold time, with keepalives three times as often (RFC 4271 sections 4.2 and 10).
func (d *Negotiated) setTimers(t *Timers) {
	d.Hold = min(t.Hold, time.Duration(d.Open.HoldTime)*time.Second)
	d.Keepalive = d.Hold / 3
	if d.Hold == 0 {
		return // RFC 9687 section 4.2: the send hold timer is off with the hold timer
	}
	if d.SendHold = t.SendHold; d.SendHold == 0 {
		d.SendHold = max(8*time.Minute, 2*d.Hold)
	}
}

func refuse(subcode uint8, data []byte, format string, a ...any) *openError {
	return &openError{fmt.Errorf(format, a...), notify(message.CodeOpen, subcode, data)}
}

// multiprotocol is the data of an Unsupported Capability NOTIFICATION (RFC 5492 section 5): the capabilities that we miss.
func multiprotocol(fs message.Families) (data []byte) {
	const code, length = 1, 4 // RFC 4760 section 8
	for _, f := range fs.List() {
		data = append(data, code, length)
		data = append(binary.BigEndian.AppendUint16(data, f.AFI()), 0, f.SAFI())
	}
	return data
}

// routerID is a BGP identifier as people write it.
func routerID(id uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, id)))
}

// parse makes an event of a message that came on a connection.
func (m *Machine) parse(c *conn, msg []byte) event {
	n, typ, err := message.Length(msg)
	if err == nil && n != len(msg) {
		err = notify(message.CodeMessageHeader, message.HeaderBadLength, msg[16:18])
	}
	if err != nil {
		return bad("header", err)
	}
	body := msg[message.HeaderLength:]
	switch typ {
	case message.TypeOpen:
		open, err := message.ParseOpen(body)
		if err != nil {
			return bad("OPEN", err)
		}
		return event{kind: openMsg, open: open}
	case message.TypeUpdate:
		if c.state == Established {
			if err := message.ParseUpdate(body, &c.deal.Options, &m.update); err != nil {
				return bad("UPDATE", err)
			}
		}
		return event{kind: updateMsg}
	case message.TypeKeepalive:
		return event{kind: keepaliveMsg}
	case message.TypeRouteRefresh:
		f, err := message.ParseRouteRefresh(body)
		if err != nil {
			return bad("ROUTE-REFRESH", err)
		}
		return event{kind: refreshMsg, family: f}
	}
	told, err := message.ParseNotification(body)
	if err != nil {
		told = &message.NotificationError{} // there is nobody to complain to: the neighbour has closed
	}
	return event{kind: notification, notify: told}
}

// bad is the event of a message that cannot be read.
func bad(what string, err error) event {
	e := event{kind: malformed, err: fmt.Errorf("malformed %s: %w", what, err)}
	if !errors.As(err, &e.notify) {
		e.notify = notify(message.CodeCease, message.CeaseOutOfResources, nil)
	}
	return e
}

func messageName(k eventKind) string {
	switch k {
	case openMsg:
		return "OPEN"
	case keepaliveMsg:
		return "KEEPALIVE"
	case refreshMsg:
		return "ROUTE-REFRESH"
	}
	return "UPDATE"
}
