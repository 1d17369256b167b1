package message

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Sizes of RFC 4271 section 4.1, in octets.
const (
	HeaderLength = 19
	MaxLength    = 4096
)

const (
	markerLength = 16
	// maxBody is what a message may hold behind its header.
	maxBody = MaxLength - HeaderLength
)

// Type is the type of a message (RFC 4271 section 4.1, RFC 2918).
type Type uint8

// The types of messages.
const (
	TypeOpen         Type = 1
	TypeUpdate       Type = 2
	TypeNotification Type = 3
	TypeKeepalive    Type = 4
	TypeRouteRefresh Type = 5
)

var typeNames = [...]string{TypeOpen: "OPEN", TypeUpdate: "UPDATE", TypeNotification: "NOTIFICATION",
	TypeKeepalive: "KEEPALIVE", TypeRouteRefresh: "ROUTE-REFRESH"}

// minLength is the least length of a message of each type, header included (RFC 4271 section 6.1, RFC 2918 section 3).
var minLength = [...]int{TypeOpen: 29, TypeUpdate: 23, TypeNotification: 21, TypeKeepalive: 19, TypeRouteRefresh: 23}

// String is the name that RFC 4271 gives the type.
func (t Type) String() string {
	if int(t) < len(typeNames) && t != 0 {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Length reads a message's header: its first HeaderLength octets, of which all must be there. n is the length of the whole
// message, HeaderLength to MaxLength; its body is message[HeaderLength:n]. The error is a *NotificationError (RFC 4271 section 6.1).
func Length(header []byte) (n int, typ Type, err error) {
	if len(header) < HeaderLength {
		return 0, 0, &NotificationError{Code: CodeMessageHeader, Subcode: HeaderBadLength}
	}
	for _, b := range header[:markerLength] {
		if b != 0xff {
			return 0, 0, &NotificationError{Code: CodeMessageHeader, Subcode: HeaderNotSynchronized}
		}
	}
	length := header[markerLength : markerLength+2]
	n, typ = int(binary.BigEndian.Uint16(length)), Type(header[HeaderLength-1])
	if n < HeaderLength || n > MaxLength {
		return 0, 0, &NotificationError{Code: CodeMessageHeader, Subcode: HeaderBadLength, Data: bytes.Clone(length)}
	}
	if int(typ) >= len(minLength) || typ == 0 {
		return 0, 0, &NotificationError{Code: CodeMessageHeader, Subcode: HeaderBadType, Data: []byte{byte(typ)}}
	}
	if n < minLength[typ] || typ == TypeKeepalive && n != HeaderLength {
		return 0, 0, &NotificationError{Code: CodeMessageHeader, Subcode: HeaderBadLength, Data: bytes.Clone(length)}
	}
	return n, typ, nil
}

// begin appends a header whose length finish fills in.
func begin(dst []byte, typ Type) []byte {
	return append(dst, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0, 0, byte(typ))
}

// finish writes the length of the message that begins at start.
func finish(dst []byte, start int) []byte {
	binary.BigEndian.PutUint16(dst[start+markerLength:], uint16(len(dst)-start))
	return dst
}

// AppendKeepalive appends a KEEPALIVE message.
func AppendKeepalive(dst []byte) []byte {
	return finish(begin(dst, TypeKeepalive), len(dst))
}

// AppendRouteRefresh appends a ROUTE-REFRESH message (RFC 2918 section 3).
func AppendRouteRefresh(dst []byte, f Family) []byte {
	start := len(dst)
	dst = begin(dst, TypeRouteRefresh)
	dst = binary.BigEndian.AppendUint16(dst, f.AFI())
	return finish(append(dst, 0, f.SAFI()), start)
}

// ParseRouteRefresh returns the family that the neighbour asks for, or 0 where RFC 2918 section 4 wants the request ignored: an
// unknown family, or one of the subtypes of RFC 7313, which we do not offer.
func ParseRouteRefresh(body []byte) (Family, error) {
	if len(body) < 4 {
		return 0, &NotificationError{Code: CodeMessageHeader, Subcode: HeaderBadLength,
			Data: binary.BigEndian.AppendUint16(nil, uint16(HeaderLength+len(body)))}
	}
	if body[2] != 0 {
		return 0, nil
	}
	return familyOf(binary.BigEndian.Uint16(body), body[3]), nil
}
