package ike

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// An Action is what the caller has to do, or may want to know. Actions are carried out in their order: an SA is installed
// before the message is sent that lets the peer use it.
type Action interface{ action() }

// Send is a datagram to be sent. With NATT it goes out of the socket of port 4500, with the four zero octets of the non-ESP
// marker before it (RFC 3948 section 2.2), which are not in Datagram; a datagram of one octet 0xff is a NAT keepalive and goes
// without. From has no valid address where none is known: the system chooses.
type Send struct {
	From, To netip.AddrPort
	NATT     bool
	Datagram []byte // the machine keeps it for retransmission: not to be changed
}

// IKE says which IKE SA it is about. The number stays the same when the IKE SA is rekeyed, and is never used again.
type IKE struct {
	Peer   string
	Number uint64
	SPIs   crypto.SPIs
	// Initiator: we are the original initiator of it as it is now.
	Initiator         bool
	LocalID, RemoteID message.ID
	Path              Path
}

// A Path is where an IKE SA's messages go. With NATT they are on port 4500 or another one that shares its socket with ESP.
type Path struct {
	Local, Remote netip.AddrPort
	NATT          bool
}

// IKEUp says that a peer is authenticated.
type IKEUp struct {
	IKE
	Suite string // in strongSwan's words
	// Leased are the addresses that we gave to the peer, Assigned those that it gave us (RFC 7296 section 2.19).
	Leased, Assigned Lease
}

// IKERekeyed says that an IKE SA has other SPIs and keys now.
type IKERekeyed struct {
	IKE
	Suite string
}

// IKEDown says that an IKE SA that was up is gone; its children's ChildDown came before. It is also said, with an IKE number
// that no IKEUp had, of an initiation that failed.
type IKEDown struct {
	IKE
	Reason error
}

// PeerMoved says that a peer is elsewhere now: its NAT mapping changed (RFC 7296 section 2.23). ESP goes there too.
type PeerMoved struct {
	IKE
	From Path // where it was
}

// A ChildSA is a pair of ESP SAs as the data plane wants it.
type ChildSA struct {
	IKE
	Name string // of the child in the configuration
	// In is the SPI of what arrives, which the Config's SPIs gave; Out is the peer's.
	In, Out       uint32
	Suite         string // package esp's name of it: "aes256gcm16"
	Cipher        crypto.Cipher
	InKey, OutKey Secret // encryption key, then salt or integrity key
	ESN           bool
	// Local and Remote are the selectors that were agreed on.
	Local, Remote []message.TrafficSelector
	// Encap: ESP is in UDP, between the path's addresses and ports (RFC 3948).
	Encap bool
	// BehindNAT: we are behind a NAT and have to send keepalives.
	BehindNAT bool
	// Roams: the peer, and not we, is behind a NAT, and ESP from elsewhere says where it is now (RFC 7296 section 2.23).
	Roams bool
	// ByUs: the exchange that made it was ours.
	ByUs bool
	// Soft and Hard are when it will be rekeyed and when it ends; zero for never.
	Soft, Hard time.Time
}

// ChildUp says that a child SA is to be installed, both directions. If there is one of its name already, what is sent still
// goes to that.
type ChildUp struct{ ChildSA }

// ChildRekeyed says that a child SA is to be installed which takes the place of Old, an inbound SPI. Inbound it is valid at
// once. Outbound it is used at once if Outbound; else as soon as a packet arrives on it, at the latest when ChildOutbound
// comes. Old's inbound SA stays until its ChildDown.
type ChildRekeyed struct {
	ChildSA
	Old      uint32
	Outbound bool
}

// ChildOutbound says that what is sent has to use this child SA from now on, which a ChildRekeyed or a ChildUp behind another
// one has told of: that which was used is deleted.
type ChildOutbound struct {
	IKE
	Name string
	In   uint32
}

// ChildDown says that a child SA, named by its inbound SPI, is to be removed and its SPI free.
type ChildDown struct {
	IKE
	Name   string
	In     uint32
	Reason error
}

// Trap says that the first packet for a child is to be reported by TrapHit from now on, or with On false, no longer.
type Trap struct {
	Peer, Child string
	On          bool
}

// IKEKeys are the keys that protect the messages of an IKE SA from now on, as Wireshark's IKEv2 decryption table wants them; only
// with Config.ExportKeys.
type IKEKeys struct {
	SPIs           crypto.SPIs
	Suite          string
	Cipher         crypto.Cipher
	EI, ER, AI, AR Secret // SK_ei, SK_er with an AEAD's salt behind them; SK_ai, SK_ar
}

// Log is something for the log. What was refused says what was offered and what was wanted.
type Log struct {
	Level slog.Level
	Peer  string // "" where it is not known
	IKE   uint64 // 0 where there is none
	Text  string
	Err   error
}

// A Secret does not show itself when printed.
type Secret []byte

// String is not the secret.
func (Secret) String() string { return "(secret)" }

// GoString is not the secret.
func (Secret) GoString() string { return "(secret)" }

// LogValue is not the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

func (Send) action()          {}
func (IKEUp) action()         {}
func (IKERekeyed) action()    {}
func (IKEDown) action()       {}
func (PeerMoved) action()     {}
func (ChildUp) action()       {}
func (ChildRekeyed) action()  {}
func (ChildOutbound) action() {}
func (ChildDown) action()     {}
func (Trap) action()          {}
func (IKEKeys) action()       {}
func (Log) action()           {}
