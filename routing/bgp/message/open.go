package message

import (
	"encoding/binary"
	"fmt"
)

// ASTrans stands for a 4-octet AS number where there is room for two (RFC 6793).
const ASTrans = 23456

// Version is the version of BGP.
const Version = 4

// OpenMessage is an OPEN message with the capabilities that are known here; others are ignored (RFC 5492 section 3).
type OpenMessage struct {
	// AS is the speaker's own, in four octets if FourOctetAS.
	AS uint32
	// HoldTime is in seconds: 0 or at least 3.
	HoldTime uint16
	// RouterID is the BGP identifier, not 0 (RFC 6286).
	RouterID uint32
	// Families are those of RFC 4760. A neighbour that announces none at all speaks IPv4 unicast.
	Families Families
	// RouteRefresh is RFC 2918, FourOctetAS RFC 6793.
	RouteRefresh, FourOctetAS bool
	// ExtendedNextHop is RFC 8950: IPv4 unicast prefixes over IPv6 next hops.
	ExtendedNextHop bool
	// Graceful is nil without the capability of RFC 4724.
	Graceful *Graceful
}

// Graceful is the graceful restart capability (RFC 4724 section 3).
type Graceful struct {
	// RestartTime is in seconds, at most 4095.
	RestartTime uint16
	// Restarting is the R flag, Notification the N flag of RFC 8538.
	Restarting, Notification bool
	// Families are those whose routes survive a restart; it may be empty.
	Families []GracefulFamily
}

// GracefulFamily is a family of a Graceful. Forwarding says that the speaker kept forwarding while it restarted.
type GracefulFamily struct {
	Family     Family
	Forwarding bool
}

// Optional parameters of OPEN (RFC 5492 section 4, RFC 9072 section 2).
const (
	parameterCapabilities = 2
	parameterExtended     = 255
)

// Capabilities.
const (
	capMultiprotocol   = 1  // RFC 4760 section 8
	capRouteRefresh    = 2  // RFC 2918 section 2
	capExtendedNextHop = 5  // RFC 8950 section 4
	capGraceful        = 64 // RFC 4724 section 3
	capFourOctetAS     = 65 // RFC 6793 section 9
)

// Flags of the graceful restart capability.
const (
	gracefulRestarting   = 0x8000
	gracefulNotification = 0x4000 // RFC 8538 section 2
	gracefulTime         = 0x0fff
	gracefulForwarding   = 0x80
)

const openLength = 10 // of the body without optional parameters

// openParser is the state of one ParseOpen.
type openParser struct {
	*OpenMessage
	multiprotocol bool // there was a capability of it, for whatever family
	// as4 is valid if FourOctetAS.
	as4 uint32
}

// ParseOpen reads the body of an OPEN message. The error is a *NotificationError (RFC 4271 section 6.2). Whether the AS is the expected
// one is for the session to say.
func ParseOpen(body []byte) (*OpenMessage, error) {
	if len(body) < openLength {
		return nil, &NotificationError{Code: CodeMessageHeader, Subcode: HeaderBadLength,
			Data: binary.BigEndian.AppendUint16(nil, uint16(HeaderLength+len(body)))}
	}
	if body[0] != Version {
		return nil, openError(OpenUnsupportedVersion, 0, Version)
	}
	p := openParser{OpenMessage: &OpenMessage{AS: uint32(binary.BigEndian.Uint16(body[1:])),
		HoldTime: binary.BigEndian.Uint16(body[3:]), RouterID: binary.BigEndian.Uint32(body[5:])}}
	if err := p.parameters(body[9:]); err != nil {
		return nil, err
	}
	if p.FourOctetAS {
		p.AS = p.as4
	}
	if !p.multiprotocol {
		p.Families = FamiliesOf(IPv4Unicast)
	}
	switch {
	case p.AS == 0:
		return nil, openError(OpenBadPeerAS)
	case p.HoldTime == 1 || p.HoldTime == 2:
		return nil, openError(OpenUnacceptableHoldTime)
	case p.RouterID == 0:
		return nil, openError(OpenBadIdentifier)
	}
	return p.OpenMessage, nil
}

func openError(subcode uint8, data ...byte) error {
	return &NotificationError{Code: CodeOpen, Subcode: subcode, Data: data}
}

// parameters reads the optional parameters, whose length is the first octet, in either of their forms.
func (p *openParser) parameters(b []byte) error {
	length, b := int(b[0]), b[1:]
	size := 1 // of the length of each parameter
	if length != 0 && len(b) >= 3 && b[0] == parameterExtended {
		length, b, size = int(binary.BigEndian.Uint16(b[1:])), b[3:], 2
	}
	if length != len(b) {
		return openError(0)
	}
	for len(b) > 0 {
		if len(b) < 1+size {
			return openError(0)
		}
		typ, n := b[0], int(b[1])
		if size == 2 {
			n = int(binary.BigEndian.Uint16(b[1:]))
		}
		b = b[1+size:]
		if n > len(b) {
			return openError(0)
		}
		if typ != parameterCapabilities {
			return openError(OpenUnsupportedParameter)
		}
		if err := p.capabilities(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// capabilities reads one parameter, which may hold several (RFC 5492 section 4).
func (p *openParser) capabilities(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return openError(0)
		}
		code, value := b[0], b[2:2+int(b[1])]
		if !p.capability(code, value) {
			return openError(0)
		}
		b = b[2+len(value):]
	}
	return nil
}

// capability reads one and says whether its length is right.
func (p *openParser) capability(code uint8, v []byte) bool {
	switch code {
	case capMultiprotocol:
		if len(v) != 4 {
			return false
		}
		p.multiprotocol = true
		p.Families |= FamiliesOf(familyOf(binary.BigEndian.Uint16(v), v[3]))
	case capRouteRefresh:
		p.RouteRefresh = true
		return len(v) == 0
	case capExtendedNextHop:
		if len(v)%6 != 0 {
			return false
		}
		for ; len(v) > 0; v = v[6:] {
			f := familyOf(binary.BigEndian.Uint16(v), v[3])
			p.ExtendedNextHop = p.ExtendedNextHop || f == IPv4Unicast && v[2] == 0 && binary.BigEndian.Uint16(v[4:]) == afiIPv6
		}
	case capGraceful:
		return p.graceful(v)
	case capFourOctetAS:
		if len(v) != 4 {
			return false
		}
		p.FourOctetAS, p.as4 = true, binary.BigEndian.Uint32(v)
	}
	return true
}

// graceful reads the capability of RFC 4724; of several the last one counts.
func (p *openParser) graceful(v []byte) bool {
	if len(v) < 2 || len(v)%4 != 2 {
		return false
	}
	head := binary.BigEndian.Uint16(v)
	g := &Graceful{RestartTime: head & gracefulTime, Restarting: head&gracefulRestarting != 0,
		Notification: head&gracefulNotification != 0}
	for v = v[2:]; len(v) > 0; v = v[4:] {
		if f := familyOf(binary.BigEndian.Uint16(v), v[2]); f != 0 {
			g.Families = append(g.Families, GracefulFamily{Family: f, Forwarding: v[3]&gracefulForwarding != 0})
		}
	}
	p.Graceful = g
	return true
}

// Append appends the message. All its capabilities are in one parameter.
func (m *OpenMessage) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(begin(dst, TypeOpen), Version)
	dst = binary.BigEndian.AppendUint16(dst, twoOctets(m.AS))
	dst = binary.BigEndian.AppendUint16(dst, m.HoldTime)
	dst = binary.BigEndian.AppendUint32(dst, m.RouterID)
	at := len(dst)
	dst = m.appendCapabilities(append(dst, 0, parameterCapabilities, 0))
	if len(dst) == at+3 {
		return finish(dst[:at+1], start)
	}
	dst[at], dst[at+2] = byte(len(dst)-at-1), byte(len(dst)-at-3)
	return finish(dst, start)
}

// appendCapabilities appends what m has, which for the families that there are is far below the 255 octets that fit.
func (m *OpenMessage) appendCapabilities(dst []byte) []byte {
	for _, f := range m.Families.List() {
		dst = appendFamily(append(dst, capMultiprotocol, 4), f, true)
	}
	if m.RouteRefresh {
		dst = append(dst, capRouteRefresh, 0)
	}
	if m.ExtendedNextHop {
		dst = appendFamily(append(dst, capExtendedNextHop, 6), IPv4Unicast, true)
		dst = append(dst, 0, afiIPv6)
	}
	if g := m.Graceful; g != nil {
		dst = g.appendTo(dst)
	}
	if m.FourOctetAS {
		dst = binary.BigEndian.AppendUint32(append(dst, capFourOctetAS, 4), m.AS)
	}
	return dst
}

func (g *Graceful) appendTo(dst []byte) []byte {
	head := min(g.RestartTime, gracefulTime)
	if g.Restarting {
		head |= gracefulRestarting
	}
	if g.Notification {
		head |= gracefulNotification
	}
	dst = binary.BigEndian.AppendUint16(append(dst, capGraceful, byte(2+4*len(g.Families))), head)
	for _, f := range g.Families {
		dst = appendFamily(dst, f.Family, false)
		flags := byte(0)
		if f.Forwarding {
			flags = gracefulForwarding
		}
		dst = append(dst, flags)
	}
	return dst
}

// appendFamily appends AFI and SAFI, which some capabilities have with a reserved octet between them.
func appendFamily(dst []byte, f Family, reserved bool) []byte {
	dst = binary.BigEndian.AppendUint16(dst, f.AFI())
	if reserved {
		dst = append(dst, 0)
	}
	return append(dst, f.SAFI())
}

// String is for logs.
func (m *OpenMessage) String() string {
	return fmt.Sprintf("AS %d, hold time %d s, families %s", m.AS, m.HoldTime, m.Families)
}
