package quick

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Config is what a file says.
type Config struct {
	Interface Interface
	Peers     []Peer
	// Ignored lists in the order of the file what it says and an engine without a shell does not do.
	Ignored []Ignored
}

// Interface is the [Interface] section. Zero values are settings that the file does not have.
type Interface struct {
	PrivateKey Key
	// ListenPort is 0 for any port.
	ListenPort uint16
	FwMark     uint32
	// Addresses keep their host bits; one without a length has that of a host.
	Addresses []netip.Prefix
	// MTU is in octets, 0 for one found out.
	MTU int

	// Table is "", "auto", "off", a number or a name.
	Table string
	// DNS are servers, Search the domains that stand among them.
	DNS                              []netip.Addr
	Search                           []string
	PreUp, PostUp, PreDown, PostDown []string
	SaveConfig                       bool
}

// Peer is one [Peer] section.
type Peer struct {
	PublicKey    PublicKey
	PresharedKey Key
	// AllowedIPs are masked, in the order of the file; IPv4 within IPv6 (::ffff:0:0/96) stays IPv6, as in wg(8).
	AllowedIPs []netip.Prefix
	Endpoint   Endpoint
	// PersistentKeepalive is in seconds, 0 for off.
	PersistentKeepalive uint16
}

// Endpoint is where a peer is reached: an address or a name, and a port. The zero Endpoint is none.
type Endpoint struct {
	// Addr is set for an address, with a zone if the file has one; Name for a name to look up.
	Addr netip.Addr
	Name string
	Port uint16
}

// IsZero reports whether there is no endpoint.
func (e Endpoint) IsZero() bool { return e == Endpoint{} }

// String is the endpoint as a file has it, "" for none.
func (e Endpoint) String() string {
	switch {
	case e.Addr.IsValid():
		return netip.AddrPortFrom(e.Addr, e.Port).String()
	case e.Name != "":
		return net.JoinHostPort(e.Name, strconv.Itoa(int(e.Port)))
	}
	return ""
}

// Ignored is one setting that has no effect.
type Ignored struct {
	// Line counts from 1.
	Line int
	// Key is the setting's name in wg-quick's spelling, Why says why it has no effect. Neither contains the value.
	Key, Why string
}

// String is a sentence for people.
func (i Ignored) String() string {
	return fmt.Sprintf("line %d: %s is ignored: %s", i.Line, i.Key, i.Why)
}
