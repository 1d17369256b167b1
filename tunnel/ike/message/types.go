package message

import "fmt"

// A PayloadType is the value of a next payload field (RFC 7296 section 3.2).
type PayloadType uint8

// The payload types.
const (
	NoNext          PayloadType = 0
	PayloadSA       PayloadType = 33
	PayloadKE       PayloadType = 34
	PayloadIDi      PayloadType = 35
	PayloadIDr      PayloadType = 36
	PayloadCert     PayloadType = 37
	PayloadCertReq  PayloadType = 38
	PayloadAuth     PayloadType = 39
	PayloadNonce    PayloadType = 40
	PayloadNotify   PayloadType = 41
	PayloadDelete   PayloadType = 42
	PayloadVendorID PayloadType = 43
	PayloadTSi      PayloadType = 44
	PayloadTSr      PayloadType = 45
	PayloadSK       PayloadType = 46
	PayloadCP       PayloadType = 47
	PayloadEAP      PayloadType = 48
	PayloadSKF      PayloadType = 53 // RFC 7383
)

// String is the RFC's notation of the payload, or its number.
func (t PayloadType) String() string {
	names := [...]string{"SA", "KE", "IDi", "IDr", "CERT", "CERTREQ", "AUTH", "Nonce", "N", "D", "V", "TSi", "TSr", "SK", "CP",
		"EAP", "GSPM", "IDg", "GSA", "KD", "SKF", "PS"}
	switch {
	case t == NoNext:
		return "no payload"
	case t >= PayloadSA && int(t-PayloadSA) < len(names):
		return names[t-PayloadSA]
	}
	return fmt.Sprintf("payload type %d", uint8(t))
}

// An ExchangeType says to which exchange a message belongs (RFC 7296 section 3.1).
type ExchangeType uint8

// The exchange types.
const (
	IKESAInit       ExchangeType = 34
	IKEAuth         ExchangeType = 35
	CreateChildSA   ExchangeType = 36
	Informational   ExchangeType = 37
	IKEIntermediate ExchangeType = 43 // RFC 9242
	IKEFollowupKE   ExchangeType = 44 // RFC 9370
)

// String is the RFC's name, or the number.
func (t ExchangeType) String() string {
	switch t {
	case IKESAInit:
		return "IKE_SA_INIT"
	case IKEAuth:
		return "IKE_AUTH"
	case CreateChildSA:
		return "CREATE_CHILD_SA"
	case Informational:
		return "INFORMATIONAL"
	case IKEIntermediate:
		return "IKE_INTERMEDIATE"
	case IKEFollowupKE:
		return "IKE_FOLLOWUP_KE"
	}
	return fmt.Sprintf("exchange type %d", uint8(t))
}

// Flags are the flags of the header. The bits that have no name are ignored on receipt and never sent.
type Flags uint8

// The flags.
const (
	FlagInitiator Flags = 1 << 3 // the sender is the original initiator of the IKE SA
	FlagVersion   Flags = 1 << 4 // the sender speaks a higher major version
	FlagResponse  Flags = 1 << 5

	allFlags = FlagInitiator | FlagVersion | FlagResponse
)

// A ProtocolID is the protocol of a proposal, notification or deletion (section 3.3.1).
type ProtocolID uint8

// The protocols.
const (
	ProtocolNone ProtocolID = 0
	ProtocolIKE  ProtocolID = 1
	ProtocolAH   ProtocolID = 2
	ProtocolESP  ProtocolID = 3
)

// String is the protocol's name, or its number.
func (p ProtocolID) String() string {
	switch p {
	case ProtocolNone:
		return "none"
	case ProtocolIKE:
		return "IKE"
	case ProtocolAH:
		return "AH"
	case ProtocolESP:
		return "ESP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// An IDType is the type of an identity (section 3.5).
type IDType uint8

// The types of identities.
const (
	IDIPv4Addr   IDType = 1
	IDFQDN       IDType = 2
	IDRFC822Addr IDType = 3
	IDIPv6Addr   IDType = 5
	IDDERASN1DN  IDType = 9
	IDDERASN1GN  IDType = 10
	IDKeyID      IDType = 11
	IDNull       IDType = 13 // RFC 7619
)

// String is the RFC's name, or the number.
func (t IDType) String() string {
	switch t {
	case IDIPv4Addr:
		return "ID_IPV4_ADDR"
	case IDFQDN:
		return "ID_FQDN"
	case IDRFC822Addr:
		return "ID_RFC822_ADDR"
	case IDIPv6Addr:
		return "ID_IPV6_ADDR"
	case IDDERASN1DN:
		return "ID_DER_ASN1_DN"
	case IDDERASN1GN:
		return "ID_DER_ASN1_GN"
	case IDKeyID:
		return "ID_KEY_ID"
	case IDNull:
		return "ID_NULL"
	}
	return fmt.Sprintf("identity type %d", uint8(t))
}

// A CertEncoding says what a Cert or CertReq payload holds (section 3.6).
type CertEncoding uint8

// The encodings of certificates. Nothing here ever fetches from a URL.
const (
	CertX509Signature    CertEncoding = 4
	CertCRL              CertEncoding = 7
	CertHashAndURL       CertEncoding = 12
	CertHashAndURLBundle CertEncoding = 13
	CertOCSP             CertEncoding = 14 // RFC 4806
	CertRawPublicKey     CertEncoding = 15 // RFC 7670
)

// String is IANA's name, or the number.
func (e CertEncoding) String() string {
	switch e {
	case CertX509Signature:
		return "X.509 certificate - signature"
	case CertCRL:
		return "certificate revocation list"
	case CertHashAndURL:
		return "hash and URL of X.509 certificate"
	case CertHashAndURLBundle:
		return "hash and URL of X.509 bundle"
	case CertOCSP:
		return "OCSP content"
	case CertRawPublicKey:
		return "raw public key"
	}
	return fmt.Sprintf("certificate encoding %d", uint8(e))
}

// An AuthMethod is the method of an Auth payload (section 3.8).
type AuthMethod uint8

// The authentication methods.
const (
	AuthRSA              AuthMethod = 1
	AuthSharedKey        AuthMethod = 2
	AuthDSS              AuthMethod = 3
	AuthECDSA256         AuthMethod = 9 // RFC 4754
	AuthECDSA384         AuthMethod = 10
	AuthECDSA521         AuthMethod = 11
	AuthGSPM             AuthMethod = 12 // RFC 6467
	AuthNull             AuthMethod = 13 // RFC 7619
	AuthDigitalSignature AuthMethod = 14 // RFC 7427
)

// String is IANA's name, or the number.
func (m AuthMethod) String() string {
	switch m {
	case AuthRSA:
		return "RSA Digital Signature"
	case AuthSharedKey:
		return "Shared Key Message Integrity Code"
	case AuthDSS:
		return "DSS Digital Signature"
	case AuthECDSA256:
		return "ECDSA with SHA-256 on the P-256 curve"
	case AuthECDSA384:
		return "ECDSA with SHA-384 on the P-384 curve"
	case AuthECDSA521:
		return "ECDSA with SHA-512 on the P-521 curve"
	case AuthGSPM:
		return "Generic Secure Password Authentication Method"
	case AuthNull:
		return "NULL Authentication"
	case AuthDigitalSignature:
		return "Digital Signature"
	}
	return fmt.Sprintf("authentication method %d", uint8(m))
}

// A TSType is the type of a traffic selector (section 3.13.1).
type TSType uint8

// The types of traffic selectors.
const (
	TSIPv4AddrRange TSType = 7
	TSIPv6AddrRange TSType = 8
)

// String is the RFC's name, or the number.
func (t TSType) String() string {
	switch t {
	case TSIPv4AddrRange:
		return "TS_IPV4_ADDR_RANGE"
	case TSIPv6AddrRange:
		return "TS_IPV6_ADDR_RANGE"
	}
	return fmt.Sprintf("traffic selector type %d", uint8(t))
}

// A ConfigType says what a CP payload is (section 3.15).
type ConfigType uint8

// The types of CP payloads.
const (
	ConfigRequest ConfigType = 1
	ConfigReply   ConfigType = 2
	ConfigSet     ConfigType = 3
	ConfigAck     ConfigType = 4
)

// String is the RFC's name, or the number.
func (t ConfigType) String() string {
	switch t {
	case ConfigRequest:
		return "CFG_REQUEST"
	case ConfigReply:
		return "CFG_REPLY"
	case ConfigSet:
		return "CFG_SET"
	case ConfigAck:
		return "CFG_ACK"
	}
	return fmt.Sprintf("configuration type %d", uint8(t))
}

// A ConfigAttributeType is the type of a configuration attribute (section 3.15.1): 15 bits.
type ConfigAttributeType uint16

// The configuration attributes.
const (
	InternalIP4Address  ConfigAttributeType = 1
	InternalIP4Netmask  ConfigAttributeType = 2
	InternalIP4DNS      ConfigAttributeType = 3
	InternalIP4NBNS     ConfigAttributeType = 4
	InternalIP4DHCP     ConfigAttributeType = 6
	ApplicationVersion  ConfigAttributeType = 7
	InternalIP6Address  ConfigAttributeType = 8
	InternalIP6DNS      ConfigAttributeType = 10
	InternalIP6DHCP     ConfigAttributeType = 12
	InternalIP4Subnet   ConfigAttributeType = 13
	SupportedAttributes ConfigAttributeType = 14
	InternalIP6Subnet   ConfigAttributeType = 15
	InternalDNSDomain   ConfigAttributeType = 25 // RFC 8598
	InternalDNSSECTA    ConfigAttributeType = 26

	maxConfigAttribute = 1<<15 - 1
)

// String is the RFC's name, or the number.
func (t ConfigAttributeType) String() string {
	switch t {
	case InternalIP4Address:
		return "INTERNAL_IP4_ADDRESS"
	case InternalIP4Netmask:
		return "INTERNAL_IP4_NETMASK"
	case InternalIP4DNS:
		return "INTERNAL_IP4_DNS"
	case InternalIP4NBNS:
		return "INTERNAL_IP4_NBNS"
	case InternalIP4DHCP:
		return "INTERNAL_IP4_DHCP"
	case ApplicationVersion:
		return "APPLICATION_VERSION"
	case InternalIP6Address:
		return "INTERNAL_IP6_ADDRESS"
	case InternalIP6DNS:
		return "INTERNAL_IP6_DNS"
	case InternalIP6DHCP:
		return "INTERNAL_IP6_DHCP"
	case InternalIP4Subnet:
		return "INTERNAL_IP4_SUBNET"
	case SupportedAttributes:
		return "SUPPORTED_ATTRIBUTES"
	case InternalIP6Subnet:
		return "INTERNAL_IP6_SUBNET"
	case InternalDNSDomain:
		return "INTERNAL_DNS_DOMAIN"
	case InternalDNSSECTA:
		return "INTERNAL_DNSSEC_TA"
	}
	return fmt.Sprintf("configuration attribute %d", uint16(t))
}
