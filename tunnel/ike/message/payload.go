package message

import "net/netip"

// A Payload is one payload of a message: a pointer to one of the structs of this file. Fields that are reserved have no
// place in them: they are ignored on receipt and zero on send.
type Payload interface {
	// Kind is the payload's type, as the next payload field before it says.
	Kind() PayloadType

	// appendBody appends what follows the generic payload header, or says what of the payload cannot be sent.
	appendBody(b []byte) ([]byte, error)
}

// SA is the Security Association payload: proposals in order of preference (RFC 7296 section 3.3).
type SA struct {
	Proposals []Proposal
}

// A Proposal is a set of transforms for one protocol. The proposals of an offer are numbered from 1 on; an answer repeats
// the number of the chosen one. Parsing does not judge numbers: whoever negotiates does.
type Proposal struct {
	Number     uint8
	Protocol   ProtocolID
	SPI        []byte // IKE: none, or 8 octets when an IKE SA is rekeyed; AH and ESP: 4
	Transforms []Transform
}

// A Transform is one algorithm. Whoever negotiates must take none that has Attributes, since these are not understood (RFC
// 7296 section 3.3.6).
type Transform struct {
	Type TransformType
	ID   uint16 // its meaning depends on Type: see TransformName
	// KeyLength is the Key Length attribute in bits; 0 if there is none.
	KeyLength uint16
	// Attributes are all others, a Key Length of zero or in the long format included.
	Attributes []Attribute
}

// An Attribute is a transform attribute (RFC 7296 section 3.3.5).
type Attribute struct {
	Type uint16 // 15 bits
	// Short says that it is in the format type and value: then Value has 2 octets.
	Short bool
	Value []byte
}

// KE is the Key Exchange payload (section 3.4): Method is a transform ID of type TransformKE.
type KE struct {
	Method uint16
	Data   []byte
}

// An ID is an identity: the body of an IDi or IDr payload (section 3.5).
type ID struct {
	Type IDType
	Data []byte

	// reserved is kept of a parsed ID only because the peer's AUTH covers it.
	reserved [3]byte
}

// IDi is the initiator's Identification payload.
type IDi struct{ ID }

// IDr is the responder's Identification payload.
type IDr struct{ ID }

// Cert is the Certificate payload (section 3.6).
type Cert struct {
	Encoding CertEncoding
	Data     []byte
}

// CertReq is the Certificate Request payload (section 3.7).
type CertReq struct {
	Encoding CertEncoding
	// Authority is a concatenation of SHA-1 hashes of the trusted authorities' SubjectPublicKeyInfo: see Hashes. It is
	// empty for raw public keys (RFC 7670).
	Authority []byte
}

// Auth is the Authentication payload (section 3.8).
type Auth struct {
	Method AuthMethod
	// Algorithm is the DER of the signature's AlgorithmIdentifier (RFC 7427 section 3): up to 255 octets with
	// AuthDigitalSignature, nil with every other method.
	Algorithm []byte
	Data      []byte
}

// Nonce is the Nonce payload (section 3.9): 16 to 256 octets.
type Nonce struct {
	Data []byte
}

// Notify is the Notify payload (section 3.10).
type Notify struct {
	// Protocol is that of the SPI; 0 if there is none, whatever was received.
	Protocol ProtocolID
	SPI      []byte
	Type     NotifyType
	Data     []byte
}

// Delete is the Delete payload (section 3.11): for the IKE SA it has no SPIs, for AH and ESP those of the sender's inbound
// SAs.
type Delete struct {
	Protocol ProtocolID
	SPIs     []uint32
}

// VendorID is the Vendor ID payload (section 3.12).
type VendorID struct {
	Data []byte
}

// TSi is the initiator's Traffic Selector payload (section 3.13).
type TSi struct {
	Selectors []TrafficSelector
}

// TSr is the responder's Traffic Selector payload.
type TSr struct {
	Selectors []TrafficSelector
}

// A TrafficSelector is a range of addresses with a protocol and a range of ports (section 3.13.1). Start 65535 and end 0
// are the ports OPAQUE; for ICMP, ICMPv6 and Mobility Headers a "port" is the type in the upper and the code in the lower
// octet. It is comparable unless it is of a type that is not understood.
type TrafficSelector struct {
	Protocol           uint8 // 0 is any
	StartPort, EndPort uint16
	// Start and End are of one family, neither IPv4-mapped nor with a zone. Start <= End.
	Start, End netip.Addr
	// Unknown is nil for ranges of addresses, which is all that this package understands: a selector of another type has
	// nothing but this.
	Unknown *UnknownSelector
}

// An UnknownSelector is a traffic selector that is not a range of addresses.
type UnknownSelector struct {
	Type     TSType
	Protocol uint8 // the octet behind the type
	Body     []byte
}

// SK is the Encrypted and Authenticated payload (section 3.14), opaque: the initialization vector, the encrypted payloads
// and padding, and the integrity check value, the lengths of which the IKE SA's algorithms give: see Split.
type SK struct {
	// First is the type of the first payload inside: NoNext if it is empty.
	First PayloadType
	// Body aliases the datagram. What stands before it in the datagram, Offset octets, is authenticated as well.
	Body   []byte
	Offset int
}

// SKF is the Encrypted and Authenticated Fragment payload (RFC 7383 section 2.5).
type SKF struct {
	// First is the type of the first payload of the whole; NoNext in all fragments but the first.
	First         PayloadType
	Number, Total uint16 // 1 <= Number <= Total
	// Body and Offset are as those of SK.
	Body   []byte
	Offset int
}

// CP is the Configuration payload (section 3.15).
type CP struct {
	Type       ConfigType
	Attributes []ConfigAttribute
}

// A ConfigAttribute has an empty Value in a request without preferences. The values of known types have a length that is
// right.
type ConfigAttribute struct {
	Type  ConfigAttributeType
	Value []byte
}

// EAP is the Extensible Authentication payload (section 3.16), opaque.
type EAP struct {
	Message []byte
}

// Unknown is a payload of a type which this package does not understand. A parsed one is not critical.
type Unknown struct {
	Type     PayloadType
	Critical bool
	Body     []byte
}

// Kind is PayloadSA.
func (*SA) Kind() PayloadType { return PayloadSA }

// Kind is PayloadKE.
func (*KE) Kind() PayloadType { return PayloadKE }

// Kind is PayloadIDi.
func (*IDi) Kind() PayloadType { return PayloadIDi }

// Kind is PayloadIDr.
func (*IDr) Kind() PayloadType { return PayloadIDr }

// Kind is PayloadCert.
func (*Cert) Kind() PayloadType { return PayloadCert }

// Kind is PayloadCertReq.
func (*CertReq) Kind() PayloadType { return PayloadCertReq }

// Kind is PayloadAuth.
func (*Auth) Kind() PayloadType { return PayloadAuth }

// Kind is PayloadNonce.
func (*Nonce) Kind() PayloadType { return PayloadNonce }

// Kind is PayloadNotify.
func (*Notify) Kind() PayloadType { return PayloadNotify }

// Kind is PayloadDelete.
func (*Delete) Kind() PayloadType { return PayloadDelete }

// Kind is PayloadVendorID.
func (*VendorID) Kind() PayloadType { return PayloadVendorID }

// Kind is PayloadTSi.
func (*TSi) Kind() PayloadType { return PayloadTSi }

// Kind is PayloadTSr.
func (*TSr) Kind() PayloadType { return PayloadTSr }

// Kind is PayloadSK.
func (*SK) Kind() PayloadType { return PayloadSK }

// Kind is PayloadSKF.
func (*SKF) Kind() PayloadType { return PayloadSKF }

// Kind is PayloadCP.
func (*CP) Kind() PayloadType { return PayloadCP }

// Kind is PayloadEAP.
func (*EAP) Kind() PayloadType { return PayloadEAP }

// Kind is the type that is not understood.
func (u *Unknown) Kind() PayloadType { return u.Type }
