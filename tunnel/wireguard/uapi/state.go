package uapi

import (
	"net/netip"
	"time"
)

// Device is the interface that a Server shows and changes. Calls come one at a time, from the Server's goroutines.
//
// An error that is or wraps a syscall.Errno answers with that number (syscall.EADDRINUSE for a port that is taken), any other
// one with EIO.
type Device interface {
	// Get returns what the interface is. The Server reads it after the call: no part of it may change then.
	Get() (State, error)
	// Set makes a change, whole or, with an error, not at all. State.Apply says what a change means.
	Set(Change) error
}

// State is an interface: its settings, its peers and what they did.
type State struct {
	// PrivateKey is the zero Key for none.
	PrivateKey Key
	// ListenPort is the port that is bound, 0 before one is. FwMark is 0 for none.
	ListenPort uint16
	FwMark     uint32
	Peers      []PeerState
}

// PeerState is one peer.
type PeerState struct {
	PublicKey PublicKey
	// PresharedKey is the zero Key for none.
	PresharedKey Key
	// Endpoint is where the peer was last heard or is expected; the zero AddrPort for unknown.
	Endpoint netip.AddrPort
	// PersistentKeepalive is in seconds, 0 for off.
	PersistentKeepalive uint16
	// AllowedIPs are masked; none of them stands with another peer.
	AllowedIPs []netip.Prefix

	// LastHandshake is the zero Time for never. RxBytes and TxBytes count octets since the peer was added.
	LastHandshake    time.Time
	RxBytes, TxBytes uint64
}

// Change is one "set" request. Nil and zero fields leave a setting as it is.
type Change struct {
	// PrivateKey points to the zero Key to take the key away. It is clamped.
	PrivateKey *Key
	// ListenPort points to 0 for any port.
	ListenPort *uint16
	// FwMark points to 0 to take the mark away.
	FwMark *uint32
	// ReplacePeers takes away all peers before those of Peers are made.
	ReplacePeers bool
	// Peers are in the order of the request, which matters; one peer may occur several times.
	Peers []PeerChange
}

// PeerChange makes, changes or removes one peer.
type PeerChange struct {
	PublicKey PublicKey
	// Remove takes the peer away; nothing else of the change counts then.
	Remove bool
	// UpdateOnly makes no peer that is not there.
	UpdateOnly bool
	// PresharedKey points to the zero Key to take the key away.
	PresharedKey *Key
	// Endpoint is the zero AddrPort to leave it; the protocol cannot take one away.
	Endpoint netip.AddrPort
	// PersistentKeepalive is in seconds and points to 0 for off.
	PersistentKeepalive *uint16
	// ReplaceAllowedIPs takes away all of the peer's before AllowedIPs.
	ReplaceAllowedIPs bool
	AllowedIPs        []AllowedIP
}

// AllowedIP adds a prefix to a peer, wherever it was before, or removes it if the peer has it.
type AllowedIP struct {
	// Prefix is masked.
	Prefix netip.Prefix
	Remove bool
}
