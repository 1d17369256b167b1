package message

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Codes of NOTIFICATION messages (RFC 4271 section 4.5, RFC 7313, RFC 9687).
const (
	CodeMessageHeader        uint8 = 1
	CodeOpen                 uint8 = 2
	CodeUpdate               uint8 = 3
	CodeHoldTimerExpired     uint8 = 4
	CodeFSM                  uint8 = 5
	CodeCease                uint8 = 6
	CodeRouteRefresh         uint8 = 7
	CodeSendHoldTimerExpired uint8 = 8
)

// Subcodes of CodeMessageHeader (RFC 4271 section 6.1).
const (
	HeaderNotSynchronized uint8 = 1
	HeaderBadLength       uint8 = 2
	HeaderBadType         uint8 = 3
)

// Subcodes of CodeOpen (RFC 4271 section 6.2, RFC 5492, RFC 9234).
const (
	OpenUnsupportedVersion    uint8 = 1
	OpenBadPeerAS             uint8 = 2
	OpenBadIdentifier         uint8 = 3
	OpenUnsupportedParameter  uint8 = 4
	OpenUnacceptableHoldTime  uint8 = 6
	OpenUnsupportedCapability uint8 = 7
	OpenRoleMismatch          uint8 = 11
)

// Subcodes of CodeUpdate (RFC 4271 section 6.3).
const (
	UpdateMalformedAttributes   uint8 = 1
	UpdateUnrecognizedWellKnown uint8 = 2
	UpdateMissingWellKnown      uint8 = 3
	UpdateAttributeFlags        uint8 = 4
	UpdateAttributeLength       uint8 = 5
	UpdateInvalidOrigin         uint8 = 6
	UpdateInvalidNextHop        uint8 = 8
	UpdateOptionalAttribute     uint8 = 9
	UpdateInvalidNetwork        uint8 = 10
	UpdateMalformedASPath       uint8 = 11
)

// Subcodes of CodeFSM (RFC 6608): a message that was not expected in this state.
const (
	FSMUnexpectedInOpenSent    uint8 = 1
	FSMUnexpectedInOpenConfirm uint8 = 2
	FSMUnexpectedInEstablished uint8 = 3
)

// Subcodes of CodeCease (RFC 4486, RFC 8538, RFC 9384).
const (
	CeaseMaxPrefixes         uint8 = 1
	CeaseAdminShutdown       uint8 = 2
	CeasePeerDeconfigured    uint8 = 3
	CeaseAdminReset          uint8 = 4
	CeaseConnectionRejected  uint8 = 5
	CeaseConfigurationChange uint8 = 6
	CeaseCollision           uint8 = 7
	CeaseOutOfResources      uint8 = 8
	CeaseHardReset           uint8 = 9
	CeaseBFDDown             uint8 = 10
)

// Subcode of CodeRouteRefresh (RFC 7313 section 5).
const RouteRefreshBadLength uint8 = 1

// NotificationError is what a NOTIFICATION message says: as an error of a parser, what the session must send before it closes.
type NotificationError struct {
	Code, Subcode uint8
	Data          []byte
}

var codeNames = [...]string{
	CodeMessageHeader: "Message Header Error", CodeOpen: "OPEN Message Error", CodeUpdate: "UPDATE Message Error",
	CodeHoldTimerExpired: "Hold Timer Expired", CodeFSM: "Finite State Machine Error", CodeCease: "Cease",
	CodeRouteRefresh: "ROUTE-REFRESH Message Error", CodeSendHoldTimerExpired: "Send Hold Timer Expired",
}

// subcodeNames are the names in IANA's registry of BGP parameters.
var subcodeNames = [...][]string{
	CodeMessageHeader: {HeaderNotSynchronized: "Connection Not Synchronized", HeaderBadLength: "Bad Message Length",
		HeaderBadType: "Bad Message Type"},
	CodeOpen: {OpenUnsupportedVersion: "Unsupported Version Number", OpenBadPeerAS: "Bad Peer AS",
		OpenBadIdentifier: "Bad BGP Identifier", OpenUnsupportedParameter: "Unsupported Optional Parameter",
		5: "Authentication Failure", OpenUnacceptableHoldTime: "Unacceptable Hold Time",
		OpenUnsupportedCapability: "Unsupported Capability", OpenRoleMismatch: "Role Mismatch"},
	CodeUpdate: {UpdateMalformedAttributes: "Malformed Attribute List",
		UpdateUnrecognizedWellKnown: "Unrecognized Well-known Attribute", UpdateMissingWellKnown: "Missing Well-known Attribute",
		UpdateAttributeFlags: "Attribute Flags Error", UpdateAttributeLength: "Attribute Length Error",
		UpdateInvalidOrigin: "Invalid ORIGIN Attribute", 7: "AS Routing Loop",
		UpdateInvalidNextHop: "Invalid NEXT_HOP Attribute", UpdateOptionalAttribute: "Optional Attribute Error",
		UpdateInvalidNetwork: "Invalid Network Field", UpdateMalformedASPath: "Malformed AS_PATH"},
	CodeFSM: {FSMUnexpectedInOpenSent: "Receive Unexpected Message in OpenSent State",
		FSMUnexpectedInOpenConfirm: "Receive Unexpected Message in OpenConfirm State",
		FSMUnexpectedInEstablished: "Receive Unexpected Message in Established State"},
	CodeCease: {CeaseMaxPrefixes: "Maximum Number of Prefixes Reached", CeaseAdminShutdown: "Administrative Shutdown",
		CeasePeerDeconfigured: "Peer De-configured", CeaseAdminReset: "Administrative Reset",
		CeaseConnectionRejected: "Connection Rejected", CeaseConfigurationChange: "Other Configuration Change",
		CeaseCollision: "Connection Collision Resolution", CeaseOutOfResources: "Out of Resources",
		CeaseHardReset: "Hard Reset", CeaseBFDDown: "BFD Down"},
	CodeRouteRefresh:         {RouteRefreshBadLength: "Invalid Message Length"},
	CodeSendHoldTimerExpired: nil,
}

// Error names the code and subcode as the RFCs do, with what a neighbour's administrator wrote, if anything.
func (e *NotificationError) Error() string {
	text := fmt.Sprintf("code %d", e.Code)
	if int(e.Code) < len(codeNames) && codeNames[e.Code] != "" {
		text = codeNames[e.Code]
	}
	if sub := subcodeName(e.Code, e.Subcode); sub != "" {
		text += ": " + sub
	}
	if inner, ok := e.HardReset(); ok {
		return text + " (" + inner.Error() + ")"
	}
	if said, ok := e.Shutdown(); ok && said != "" {
		return text + " (" + strconv.Quote(said) + ")"
	}
	return text
}

// subcodeName is empty for the subcode 0, which says nothing.
func subcodeName(code, sub uint8) string {
	switch {
	case sub == 0:
		return ""
	case int(code) < len(subcodeNames) && int(sub) < len(subcodeNames[code]) && subcodeNames[code][sub] != "":
		return subcodeNames[code][sub]
	}
	return fmt.Sprintf("subcode %d", sub)
}

// HardReset returns what a Cease of the subcode Hard Reset encloses (RFC 8538 section 3.1).
func (e *NotificationError) HardReset() (*NotificationError, bool) {
	if e.Code != CodeCease || e.Subcode != CeaseHardReset || len(e.Data) < 2 {
		return nil, false
	}
	inner := &NotificationError{Code: e.Data[0], Subcode: e.Data[1], Data: e.Data[2:]}
	if inner.Code == CodeCease && inner.Subcode == CeaseHardReset {
		inner.Data = nil // it does not nest, and neither shall Error
	}
	return inner, true
}

// Shutdown returns the shutdown communication of RFC 9003 that comes with an administrative shutdown or reset, fit to be
// printed. It is false where there is none or its length is wrong.
func (e *NotificationError) Shutdown() (string, bool) {
	if e.Code != CodeCease || e.Subcode != CeaseAdminShutdown && e.Subcode != CeaseAdminReset {
		return "", false
	}
	if len(e.Data) == 0 || int(e.Data[0]) > len(e.Data)-1 {
		return "", false
	}
	return sanitize(string(e.Data[1 : 1+int(e.Data[0])])), true
}

// MaxShutdown is the length of a shutdown communication in octets (RFC 9003 section 2).
const MaxShutdown = 255

// ShutdownData is the data of an administrative shutdown or reset that says text (RFC 9003 section 2). What is not fit to be
// printed is replaced, and what is longer than MaxShutdown is cut between characters. Without text there is no data.
func ShutdownData(text string) []byte {
	text = sanitize(text)
	if len(text) > MaxShutdown {
		n := MaxShutdown
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	if text == "" {
		return nil
	}
	return append([]byte{byte(len(text))}, text...)
}

// sanitize keeps what a neighbour wrote from being more than one line of text in somebody's terminal or log.
func sanitize(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return utf8.RuneError
	}, s)
}

// AppendNotification appends a NOTIFICATION message. Data that does not fit is cut.
func AppendNotification(dst []byte, code, subcode uint8, data []byte) []byte {
	start := len(dst)
	dst = append(begin(dst, TypeNotification), code, subcode)
	return finish(append(dst, data[:min(len(data), maxBody-2)]...), start)
}

// ParseNotification returns what the neighbour said; Data is borrowed from body. The error says that the message is too short, to
// which nothing is answered (RFC 4271 section 6.4).
func ParseNotification(body []byte) (*NotificationError, error) {
	if len(body) < 2 {
		return nil, fmt.Errorf("parse NOTIFICATION: %d octets where there must be 2", len(body))
	}
	return &NotificationError{Code: body[0], Subcode: body[1], Data: body[2:]}, nil
}
