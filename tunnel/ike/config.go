package ike

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// SPIs gives out the SPIs of inbound ESP SAs: the data plane decides what they are.
type SPIs interface {
	// Allocate reserves an SPI for a peer's child SA.
	Allocate(peer string) (uint32, error)
	// Release gives back one that no ChildUp or ChildRekeyed has named. Those that were named end with their ChildDown.
	Release(spi uint32)
}

// A Pool lends addresses to peers (RFC 7296 section 2.19).
type Pool interface {
	// Lease lends addresses to an authenticated peer: asked are those that it would like, unspecified ones for any of a
	// family.
	Lease(peer string, id message.ID, asked []netip.Addr) (Lease, error)
	// Release ends what Lease gave, once.
	Release(l Lease)
}

// A Lease is what a configuration payload gives.
type Lease struct {
	Addresses, DNS []netip.Addr
}

// Config is what all IKE SAs of an Endpoint share. Durations and numbers that are zero have the default.
type Config struct {
	// Rand gives SPIs, nonces and the randomness of times: crypto/rand.Reader but in tests.
	Rand io.Reader
	SPIs SPIs
	// Port and NATPort are the local ports: 500 and 4500. With a Port of NoPort all begins on NATPort.
	Port, NATPort int
	Retransmit    Retransmit
	// HalfOpenTimeout is how long an initiator may take between IKE_SA_INIT and the end of IKE_AUTH; default 30 s.
	HalfOpenTimeout time.Duration
	// CookieThreshold is the number of half-open IKE SAs from which on cookies are asked for, MaxHalfOpen the one at which no
	// more are begun; defaults 100 and 1000.
	CookieThreshold, MaxHalfOpen int
	// FragmentSize is the largest IP packet in bytes that a message may need before it is fragmented (RFC 7383); default 1280.
	FragmentSize int
	// ExportKeys has an IKEKeys action emitted for each IKE SA. Whoever has these can read and forge its messages.
	ExportKeys bool
	// Linger is how long a replaced child SA is still accepted inbound; default 5 s.
	Linger time.Duration
	// RetryMin and RetryMax bound the time between attempts to initiate, which doubles; defaults 1 s and 60 s.
	RetryMin, RetryMax time.Duration
	// Keepalive is how long an IKE SA without children may be silent before a NAT keepalive is sent; default 20 s.
	Keepalive time.Duration
}

// NoPort as Config.Port says that there is no socket for port 500.
const NoPort = -1

// Retransmit says when a request is sent again: Timeout, then Base times as long, and so on, at most Max, Tries times; then
// the IKE SA is given up. Zero fields have the defaults 2 s, 1.8, 30 s and 5.
type Retransmit struct {
	Timeout, Max time.Duration
	Base         float64
	Tries        int
}

// Encap says whether ESP is put in UDP.
type Encap uint8

// EncapAuto does what NAT detection says, EncapAlways pretends a NAT, EncapNever does not look for one.
const (
	EncapAuto Encap = iota
	EncapAlways
	EncapNever
)

// CloseAction is what is done when a child SA ends that nobody here wanted to end.
type CloseAction uint8

// The actions. ActionTrap waits for a packet, ActionStart begins at once.
const (
	ActionNone CloseAction = iota
	ActionTrap
	ActionStart
)

// PeerConfig is a configured peer. It and what it points to must not be changed afterwards.
type PeerConfig struct {
	Name string
	// Local is our address; the zero Addr takes the one that the peer wrote to. An initiator that does not say it always finds
	// a NAT.
	Local netip.Addr
	// Remote is the peer's address; the zero Addr makes a template: any peer with the right identity, as often as there are
	// such, and never initiated.
	Remote netip.Addr
	// RemotePort is where to begin: 500 (the default), or another one, with messages as on 4500.
	RemotePort  uint16
	Encap       Encap
	Proposals   proposal.List
	Credentials Credentials
	Children    []ChildConfig
	// Pool gives addresses to peers that ask for them; nil for none.
	Pool Pool
	// Ask are the addresses that we ask the peer for, unspecified ones for any of a family.
	Ask []netip.Addr
	// RekeyTime less a random part of RandTime is when we rekey the IKE SA; never if zero. RekeyTime+OverTime is when it ends.
	// Defaults of the others: 10 % of RekeyTime or ReauthTime each, the longer one; a negative RandTime is none.
	RekeyTime, OverTime, RandTime time.Duration
	// ReauthTime less a random part of RandTime is when we authenticate anew: another IKE SA with all children is made, and
	// then this one deleted. Never if zero. A responder tells its peer to do so (RFC 4478). An IKE SA whose authentication was not
	// repeated ends OverTime later, at least 30 s.
	ReauthTime time.Duration
	// DPDDelay is how long the peer may be silent before it is asked for a sign of life; never if zero.
	DPDDelay time.Duration
	// KeyingTries is how often an initiation is tried; 0 for ever.
	KeyingTries int
	// NoFragmentation turns RFC 7383 off.
	NoFragmentation bool
}

// ChildConfig is a configured child SA.
type ChildConfig struct {
	Name      string
	Proposals proposal.List
	// Local and Remote are the selectors to be offered, or to which offers are narrowed. Where there is none it is the host's
	// own address: the one that it was lent, else the outer one.
	Local, Remote []message.TrafficSelector
	// Start initiates it as soon as the peer is added; Trap has its first packet initiate it.
	Start, Trap bool
	// DPDAction is what to do when the peer is dead, CloseAction when it deletes the child.
	DPDAction, CloseAction CloseAction
	Lifetime               Lifetime
}

// Lifetime bounds a child SA. Rekey values less a random part of the Rand values begin the rekeying, Life values end the SA. Of
// a time at most half is left to chance.
// A Rekey value of zero is never. Defaults of the others: Life 110 % of Rekey, Rand what is between the two; a
// negative RandTime is none.
type Lifetime struct {
	RekeyTime, LifeTime, RandTime          time.Duration
	RekeyBytes, LifeBytes, RandBytes       uint64
	RekeyPackets, LifePackets, RandPackets uint64
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c *Config) setDefaults() {
	orDefault(&c.Port, 500)
	orDefault(&c.NATPort, 4500)
	orDefault(&c.Retransmit.Timeout, 2*time.Second)
	orDefault(&c.Retransmit.Max, 30*time.Second)
	orDefault(&c.Retransmit.Base, 1.8)
	orDefault(&c.Retransmit.Tries, 5)
	orDefault(&c.HalfOpenTimeout, 30*time.Second)
	orDefault(&c.CookieThreshold, 100)
	orDefault(&c.MaxHalfOpen, 1000)
	orDefault(&c.FragmentSize, 1280)
	orDefault(&c.Linger, 5*time.Second)
	orDefault(&c.RetryMin, time.Second)
	orDefault(&c.RetryMax, time.Minute)
	orDefault(&c.Keepalive, 20*time.Second)
}

// minFragmentSize leaves room for headers and some content in each fragment.
const minFragmentSize = 256

func (c *Config) check() error {
	switch {
	case c.Rand == nil || c.SPIs == nil:
		return errors.New("IKE: Rand and SPIs are needed")
	case c.FragmentSize < minFragmentSize:
		return fmt.Errorf("IKE: fragment size %d; at least %d", c.FragmentSize, minFragmentSize)
	case c.Retransmit.Base < 1 || c.Retransmit.Tries < 0 || c.Retransmit.Timeout < 0 || c.Retransmit.Max < 0:
		return errors.New("IKE: retransmission: base at least 1, nothing negative")
	}
	return nil
}

func (p *PeerConfig) setDefaults() {
	orDefault(&p.RemotePort, 500)
	orDefault(&p.OverTime, max(p.RekeyTime, p.ReauthTime)/10)
	orDefault(&p.RandTime, max(p.RekeyTime, p.ReauthTime)/10)
	p.Children = append([]ChildConfig(nil), p.Children...)
	for i := range p.Children {
		l := &p.Children[i].Lifetime
		orDefault(&l.LifeTime, l.RekeyTime+l.RekeyTime/10)
		orDefault(&l.LifeBytes, l.RekeyBytes+l.RekeyBytes/10)
		orDefault(&l.LifePackets, l.RekeyPackets+l.RekeyPackets/10)
		orDefault(&l.RandTime, max(0, l.LifeTime-l.RekeyTime))
		orDefault(&l.RandBytes, beyond(l.LifeBytes, l.RekeyBytes))
		orDefault(&l.RandPackets, beyond(l.LifePackets, l.RekeyPackets))
	}
}

// beyond is a-b, or 0.
func beyond(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

func (p *PeerConfig) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("IKE peer %q: %s", p.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case p.Name == "":
		return errors.New("IKE peer: it has no name")
	case p.Credentials == nil:
		return fail("no credentials")
	case len(p.Proposals) == 0:
		return fail("no proposals")
	}
	seen := map[string]bool{}
	for _, c := range p.Children {
		switch {
		case c.Name == "" || seen[c.Name]:
			return fail("child %q: names must be there and differ", c.Name)
		case len(c.Proposals) == 0:
			return fail("child %q: no proposals", c.Name)
		case !p.Remote.IsValid() && (c.Start || c.Trap):
			return fail("child %q: a template cannot be initiated", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// template says whether any peer with the right identity is meant.
func (p *PeerConfig) template() bool { return !p.Remote.IsValid() }

func (p *PeerConfig) child(name string) *ChildConfig {
	for i := range p.Children {
		if p.Children[i].Name == name {
			return &p.Children[i]
		}
	}
	return nil
}
