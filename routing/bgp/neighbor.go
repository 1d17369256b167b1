package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// Local is what the speaker is towards all of its neighbours.
type Local struct {
	AS uint32
	// RouterID is the BGP identifier: not 0, and unique among the speakers of the AS (RFC 6286).
	RouterID uint32
	// Resumed says that this process took over from one before it and that packets were forwarded meanwhile: sessions
	// are opened with the restart bits of RFC 4724 for neighbours that have a RestartTime. A cold start leaves it false,
	// and neighbours then forget at once what they kept.
	Resumed bool
}

// Neighbor is the configuration of one BGP neighbour. It is not changed once a Machine or a Speaker has it.
type Neighbor struct {
	// Name is for people, and unique in a Speaker.
	Name string
	// Address and Port are where the neighbour listens, and Address is whom connections are accepted from. Port 0 is 179.
	Address netip.Addr
	Port    uint16
	// LocalAddress is ours on this session; without it the connection decides.
	LocalAddress netip.Addr
	// NextHop4 and NextHop6 are announced as our own next hop. Without one LocalAddress serves, or the connection's address,
	// for the family that it is of; for IPv4 prefixes also the IPv6 address, where the neighbour knows RFC 8950.
	NextHop4, NextHop6 netip.Addr
	// AS must be the neighbour's.
	AS uint32
	// LocalAS replaces the speaker's AS towards this neighbour unless 0.
	LocalAS uint32
	// Families are what we want to exchange, at least one of them.
	Families message.Families
	// ExtendedNextHop offers IPv4 prefixes over IPv6 next hops (RFC 8950).
	ExtendedNextHop bool
	// EnforceFirstAS treats announcements whose AS path does not begin with AS as withdrawals (RFC 4271 section 6.3): for an external
	// neighbour that is no route server.
	EnforceFirstAS bool
	// Passive waits for the neighbour to connect.
	Passive bool
	// Exports says that there is an export policy: without one there is no Adj-RIB-Out and nothing is announced
	// (RFC 8212 for eBGP).
	Exports bool
	// NextHopSelf announces our own next hop to an iBGP neighbour too; eBGP always does.
	NextHopSelf bool
	// Timers; see DefaultTimers.
	Timers Timers
	// Limits of prefixes per family.
	Limits map[message.Family]Limit
	// Helper keeps the routes of a neighbour that restarts (RFC 4724) for as long as it asked, at most MaxStale, and then
	// until it has announced all again, at most MaxStale. 0 is 5 minutes.
	Helper   bool
	MaxStale time.Duration
	// RestartTime is how long the neighbour is asked to keep our routes while we are taken over; 0 does not ask.
	RestartTime time.Duration
}

// Limit says how many prefixes a neighbour may announce. 0 is no limit.
type Limit struct {
	Warn, Max int
}

// Timers of a session. The zero value is not useful; start from DefaultTimers.
type Timers struct {
	// Hold is offered; the smaller one of both sides' counts. From 3 s, or 0 for no keepalives at all (RFC 4271 section 4.2).
	Hold time.Duration
	// InitialHold bounds the wait for an OPEN (RFC 4271 section 8.2.2 suggests 4 minutes).
	InitialHold time.Duration
	// SendHold is how long the neighbour may accept no byte from us (RFC 9687). 0 is twice the negotiated hold time but not
	// less than 8 minutes, as the RFC recommends.
	SendHold time.Duration
	// Retry is the first wait before another attempt to connect; it doubles up to ConnectRetry. Both are shortened by a
	// random quarter at most.
	Retry, ConnectRetry time.Duration
	// Connect bounds one attempt.
	Connect time.Duration
	// IdleHold is the first wait after an error that a person should look at; it doubles up to MaxIdleHold, and falls back
	// when a session has lived that long.
	IdleHold, MaxIdleHold time.Duration
}

// DefaultTimers are those of a neighbour that does not say otherwise.
func DefaultTimers() Timers {
	return Timers{
		Hold:        90 * time.Second,
		InitialHold: 4 * time.Minute,
		Retry:       time.Second, ConnectRetry: 2 * time.Minute,
		Connect:  20 * time.Second,
		IdleHold: 5 * time.Second, MaxIdleHold: 5 * time.Minute,
	}
}

// port is where the neighbour listens.
func (n *Neighbor) port() uint16 {
	if n.Port == 0 {
		return 179
	}
	return n.Port
}

// AddrPort is where to connect to.
func (n *Neighbor) AddrPort() netip.AddrPort { return netip.AddrPortFrom(n.Address, n.port()) }

// localAS is ours towards the neighbour.
func (n *Neighbor) localAS(l Local) uint32 {
	if n.LocalAS != 0 {
		return n.LocalAS
	}
	return l.AS
}

// IBGP says whether the neighbour is in our own AS.
func (n *Neighbor) IBGP(l Local) bool { return n.AS == l.AS && n.LocalAS == 0 || n.AS == n.LocalAS }

func (n *Neighbor) maxStale() time.Duration {
	if n.MaxStale == 0 {
		return 5 * time.Minute
	}
	return n.MaxStale
}

// Check returns all that is wrong, joined, nil when nothing is.
func (n *Neighbor) Check() error {
	var errs []error
	bad := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf("neighbor %s: "+format, append([]any{n.Name}, a...)...))
	}
	if n.Name == "" {
		bad("no name")
	}
	if !n.Address.IsValid() {
		bad("no address")
	}
	if n.AS == 0 || n.AS == message.ASTrans {
		bad("%d is not an AS number of a neighbour", n.AS)
	}
	if n.LocalAS == message.ASTrans {
		bad("%d is not an AS number of our own", n.LocalAS)
	}
	if n.Families.Len() == 0 {
		bad("no address family")
	}
	t := &n.Timers
	if h := t.Hold; h != 0 && (h < 3*time.Second || h > 65535*time.Second || h%time.Second != 0) {
		bad("hold time %v, want 0 or whole seconds from 3 to 65535", h)
	}
	if t.InitialHold <= 0 || t.Retry <= 0 || t.ConnectRetry < t.Retry || t.Connect <= 0 || t.IdleHold <= 0 || t.MaxIdleHold < t.IdleHold {
		bad("timers that are 0, negative or beyond their maximum: %+v", *t)
	}
	if t.SendHold != 0 && t.SendHold <= t.Hold {
		bad("send hold time %v, want more than the hold time %v", t.SendHold, t.Hold)
	}
	if n.RestartTime < 0 || n.RestartTime > maxRestartTime {
		bad("restart time %v, want 0 to %v", n.RestartTime, maxRestartTime)
	}
	for f, l := range n.Limits {
		if l.Warn < 0 || l.Max < 0 || l.Max > 0 && l.Warn > l.Max {
			bad("%v prefix limits warn %d, max %d", f, l.Warn, l.Max)
		}
	}
	return errors.Join(errs...)
}

// maxRestartTime is what fits the 12 bits of RFC 4724 section 3.
const maxRestartTime = 4095 * time.Second
