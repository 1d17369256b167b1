package message

import "fmt"

// A NotifyType is the type of a notification (IANA, "IKEv2 Notify Message Types").
type NotifyType uint16

// The types that report errors: below 16384.
const (
	UnsupportedCritical    NotifyType = 1 // UNSUPPORTED_CRITICAL_PAYLOAD
	InvalidIKESPI          NotifyType = 4
	InvalidMajorVersion    NotifyType = 5
	InvalidSyntax          NotifyType = 7
	InvalidMessageID       NotifyType = 9
	InvalidSPI             NotifyType = 11
	NoProposalChosen       NotifyType = 14
	InvalidKEPayload       NotifyType = 17
	AuthenticationFailed   NotifyType = 24
	SinglePairRequired     NotifyType = 34
	NoAdditionalSAs        NotifyType = 35
	InternalAddressFailure NotifyType = 36
	FailedCPRequired       NotifyType = 37
	TSUnacceptable         NotifyType = 38
	InvalidSelectors       NotifyType = 39
	UnacceptableAddresses  NotifyType = 40
	UnexpectedNATDetected  NotifyType = 41
	UseAssignedHoA         NotifyType = 42
	TemporaryFailure       NotifyType = 43
	ChildSANotFound        NotifyType = 44
	InvalidGroupID         NotifyType = 45
	AuthorizationFailed    NotifyType = 46
	StateNotFound          NotifyType = 47 // RFC 9370
	TSMaxQueue             NotifyType = 48 // RFC 9611
)

// The types that report status: from 16384 on.
const (
	InitialContact                NotifyType = 16384
	SetWindowSize                 NotifyType = 16385
	AdditionalTSPossible          NotifyType = 16386
	IPCompSupported               NotifyType = 16387
	NATDetectionSourceIP          NotifyType = 16388
	NATDetectionDestinationIP     NotifyType = 16389
	Cookie                        NotifyType = 16390
	UseTransportMode              NotifyType = 16391
	HTTPCertLookupSupported       NotifyType = 16392
	RekeySA                       NotifyType = 16393
	ESPTFCPaddingNotSupported     NotifyType = 16394
	NonFirstFragmentsAlso         NotifyType = 16395
	MOBIKESupported               NotifyType = 16396 // RFC 4555
	AdditionalIP4Address          NotifyType = 16397
	AdditionalIP6Address          NotifyType = 16398
	NoAdditionalAddresses         NotifyType = 16399
	UpdateSAAddresses             NotifyType = 16400
	Cookie2                       NotifyType = 16401
	NoNATsAllowed                 NotifyType = 16402
	AuthLifetime                  NotifyType = 16403 // RFC 4478
	MultipleAuthSupported         NotifyType = 16404 // RFC 4739
	AnotherAuthFollows            NotifyType = 16405
	RedirectSupported             NotifyType = 16406 // RFC 5685
	Redirect                      NotifyType = 16407
	RedirectedFrom                NotifyType = 16408
	EAPOnlyAuthentication         NotifyType = 16417 // RFC 5998
	ChildlessIKEv2Supported       NotifyType = 16418 // RFC 6023
	QuickCrashDetection           NotifyType = 16419 // RFC 6290
	FragmentationSupported        NotifyType = 16430 // RFC 7383
	SignatureHashAlgorithms       NotifyType = 16431 // RFC 7427
	IntermediateExchangeSupported NotifyType = 16438 // RFC 9242
	AdditionalKeyExchange         NotifyType = 16441 // RFC 9370
	SupportedAuthMethods          NotifyType = 16443 // RFC 9593
)

// Error says whether the type reports an error. An error of an unknown type in a response means that the request failed
// altogether; in a request it is ignored, as are unknown types of status (RFC 7296 section 3.10.1).
func (t NotifyType) Error() bool { return t < 16384 }

// Known says whether the type is registered.
func (t NotifyType) Known() bool { return notifyNames[t] != "" }

// String is IANA's name, or the number.
func (t NotifyType) String() string {
	if name := notifyNames[t]; name != "" {
		return name
	}
	if t.Error() {
		return fmt.Sprintf("error notification %d", uint16(t))
	}
	return fmt.Sprintf("status notification %d", uint16(t))
}

// notifyNames is read only: IANA's registry.
var notifyNames = map[NotifyType]string{
	1: "UNSUPPORTED_CRITICAL_PAYLOAD", 4: "INVALID_IKE_SPI", 5: "INVALID_MAJOR_VERSION", 7: "INVALID_SYNTAX",
	9: "INVALID_MESSAGE_ID", 11: "INVALID_SPI", 14: "NO_PROPOSAL_CHOSEN", 17: "INVALID_KE_PAYLOAD",
	24: "AUTHENTICATION_FAILED", 34: "SINGLE_PAIR_REQUIRED", 35: "NO_ADDITIONAL_SAS", 36: "INTERNAL_ADDRESS_FAILURE",
	37: "FAILED_CP_REQUIRED", 38: "TS_UNACCEPTABLE", 39: "INVALID_SELECTORS", 40: "UNACCEPTABLE_ADDRESSES",
	41: "UNEXPECTED_NAT_DETECTED", 42: "USE_ASSIGNED_HoA", 43: "TEMPORARY_FAILURE", 44: "CHILD_SA_NOT_FOUND",
	45: "INVALID_GROUP_ID", 46: "AUTHORIZATION_FAILED", 47: "STATE_NOT_FOUND", 48: "TS_MAX_QUEUE",

	16384: "INITIAL_CONTACT", 16385: "SET_WINDOW_SIZE", 16386: "ADDITIONAL_TS_POSSIBLE", 16387: "IPCOMP_SUPPORTED",
	16388: "NAT_DETECTION_SOURCE_IP", 16389: "NAT_DETECTION_DESTINATION_IP", 16390: "COOKIE", 16391: "USE_TRANSPORT_MODE",
	16392: "HTTP_CERT_LOOKUP_SUPPORTED", 16393: "REKEY_SA", 16394: "ESP_TFC_PADDING_NOT_SUPPORTED",
	16395: "NON_FIRST_FRAGMENTS_ALSO", 16396: "MOBIKE_SUPPORTED", 16397: "ADDITIONAL_IP4_ADDRESS",
	16398: "ADDITIONAL_IP6_ADDRESS", 16399: "NO_ADDITIONAL_ADDRESSES", 16400: "UPDATE_SA_ADDRESSES", 16401: "COOKIE2",
	16402: "NO_NATS_ALLOWED", 16403: "AUTH_LIFETIME", 16404: "MULTIPLE_AUTH_SUPPORTED", 16405: "ANOTHER_AUTH_FOLLOWS",
	16406: "REDIRECT_SUPPORTED", 16407: "REDIRECT", 16408: "REDIRECTED_FROM", 16409: "TICKET_LT_OPAQUE",
	16410: "TICKET_REQUEST", 16411: "TICKET_ACK", 16412: "TICKET_NACK", 16413: "TICKET_OPAQUE", 16414: "LINK_ID",
	16415: "USE_WESP_MODE", 16416: "ROHC_SUPPORTED", 16417: "EAP_ONLY_AUTHENTICATION", 16418: "CHILDLESS_IKEV2_SUPPORTED",
	16419: "QUICK_CRASH_DETECTION", 16420: "IKEV2_MESSAGE_ID_SYNC_SUPPORTED", 16421: "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED",
	16422: "IKEV2_MESSAGE_ID_SYNC", 16423: "IPSEC_REPLAY_COUNTER_SYNC", 16424: "SECURE_PASSWORD_METHODS",
	16425: "PSK_PERSIST", 16426: "PSK_CONFIRM", 16427: "ERX_SUPPORTED", 16428: "IFOM_CAPABILITY", 16429: "SENDER_REQUEST_ID",
	16430: "IKEV2_FRAGMENTATION_SUPPORTED", 16431: "SIGNATURE_HASH_ALGORITHMS", 16432: "CLONE_IKE_SA_SUPPORTED",
	16433: "CLONE_IKE_SA", 16434: "PUZZLE", 16435: "USE_PPK", 16436: "PPK_IDENTITY", 16437: "NO_PPK_AUTH",
	16438: "INTERMEDIATE_EXCHANGE_SUPPORTED", 16439: "IP4_ALLOWED", 16440: "IP6_ALLOWED", 16441: "ADDITIONAL_KEY_EXCHANGE",
	16442: "USE_AGGFRAG", 16443: "SUPPORTED_AUTH_METHODS", 16444: "SA_RESOURCE_INFO", 16445: "USE_PPK_INT",
	16446: "PPK_IDENTITY_KEY",
}
