package bfd

import (
	"encoding/binary"
	"fmt"
	"time"
)

// State of a session (RFC 5880 section 4.1).
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

// String is the name in RFC 5880.
func (s State) String() string {
	names := [...]string{"AdminDown", "Down", "Init", "Up"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Diag is the reason of the last change from Up (RFC 5880 section 4.1).
type Diag uint8

// The diagnostic codes.
const (
	DiagNone Diag = iota
	DiagExpired
	DiagEchoFailed
	DiagNeighborDown
	DiagForwardingReset
	DiagPathDown
	DiagConcatenatedPathDown
	DiagAdminDown
	DiagReverseConcatenatedPathDown
)

// String is the name in RFC 5880.
func (d Diag) String() string {
	names := [...]string{"No Diagnostic", "Control Detection Time Expired", "Echo Function Failed", "Neighbor Signaled Session Down",
		"Forwarding Plane Reset", "Path Down", "Concatenated Path Down", "Administratively Down", "Reverse Concatenated Path Down"}
	if int(d) < len(names) {
		return names[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

// Drop says why a packet was discarded; 0 is not at all.
type Drop uint8

// The reasons. The numbers of sections are RFC 5880's.
const (
	Accepted              Drop = iota
	DropTTL                    // the TTL was not 255 (RFC 5881 section 5)
	DropShort                  // shorter than the mandatory section
	DropVersion                // not version 1
	DropLength                 // the length field is too small, or larger than the payload
	DropDetectMult             // a detect multiplier of 0
	DropMultipoint             // the multipoint bit is set
	DropMyDiscriminator        // a discriminator of 0
	DropYourDiscriminator      // no discriminator of ours although Up or Init, or not this session's
	DropAuthentication         // it has an authentication section, and none is in use
	DropAdminDown              // we are administratively down
	DropUnknown                // no session has this discriminator and this neighbour
	DropBusy                   // too many were waiting
	drops
)

// Drops is the number of reasons, for tables of counters.
const Drops = int(drops)

// String names the reason for people.
func (d Drop) String() string {
	names := [...]string{"accepted", "ttl-not-255", "short", "version", "length", "detect-mult-zero", "multipoint", "my-discriminator-zero",
		"your-discriminator", "authentication", "admin-down", "unknown-session", "busy"}
	if int(d) < len(names) {
		return names[d]
	}
	return fmt.Sprintf("drop %d", uint8(d))
}

// Size is that of a control packet without authentication, and so of all that we send.
const Size = 24

// Packet is the mandatory section of a control packet (RFC 5880 section 4.1). Intervals are in whole microseconds.
type Packet struct {
	Diag                                                         Diag
	State                                                        State
	Poll, Final, ControlPlaneIndependent, Authentication, Demand bool
	DetectMult                                                   uint8
	MyDiscriminator, YourDiscriminator                           uint32
	DesiredMinTx, RequiredMinRx, RequiredMinEchoRx               time.Duration
}

// The bits of the second octet, below the state.
const (
	bitPoll        = 0x20
	bitFinal       = 0x10
	bitIndependent = 0x08
	bitAuth        = 0x04
	bitDemand      = 0x02
	bitMultipoint  = 0x01
)

// Append appends the packet. The authentication bit stays clear, as nothing follows.
func (p *Packet) Append(b []byte) []byte {
	flags := byte(p.State) << 6
	for _, f := range [...]struct {
		set bool
		bit byte
	}{{p.Poll, bitPoll}, {p.Final, bitFinal}, {p.ControlPlaneIndependent, bitIndependent}, {p.Demand, bitDemand}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, 1<<5|byte(p.Diag)&0x1f, flags, p.DetectMult, Size)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscriminator)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscriminator)
	b = binary.BigEndian.AppendUint32(b, uint32(p.DesiredMinTx/time.Microsecond))
	b = binary.BigEndian.AppendUint32(b, uint32(p.RequiredMinRx/time.Microsecond))
	return binary.BigEndian.AppendUint32(b, uint32(p.RequiredMinEchoRx/time.Microsecond))
}

// Parse reads a packet and checks what needs no session (RFC 5880 section 6.8.6).
func Parse(b []byte) (p Packet, drop Drop) {
	if len(b) < Size {
		return p, DropShort
	}
	least := Size
	if b[1]&bitAuth != 0 {
		least += 2
	}
	switch length := int(b[3]); {
	case b[0]>>5 != 1:
		return p, DropVersion
	case length < least || length > len(b):
		return p, DropLength
	case b[2] == 0:
		return p, DropDetectMult
	case b[1]&bitMultipoint != 0:
		return p, DropMultipoint
	}
	interval := func(at int) time.Duration { return time.Duration(binary.BigEndian.Uint32(b[at:])) * time.Microsecond }
	p = Packet{
		Diag: Diag(b[0] & 0x1f), State: State(b[1] >> 6), DetectMult: b[2],
		Poll: b[1]&bitPoll != 0, Final: b[1]&bitFinal != 0, ControlPlaneIndependent: b[1]&bitIndependent != 0,
		Authentication: b[1]&bitAuth != 0, Demand: b[1]&bitDemand != 0,
		MyDiscriminator: binary.BigEndian.Uint32(b[4:]), YourDiscriminator: binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx: interval(12), RequiredMinRx: interval(16), RequiredMinEchoRx: interval(20),
	}
	switch {
	case p.MyDiscriminator == 0:
		return p, DropMyDiscriminator
	case p.YourDiscriminator == 0 && p.State != Down && p.State != AdminDown:
		return p, DropYourDiscriminator
	}
	return p, Accepted
}
