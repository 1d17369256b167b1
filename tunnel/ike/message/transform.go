package message

import (
	"fmt"
	"slices"
)

// A TransformType says what an algorithm is for (IANA, "Transform Type Values" of IKEv2).
type TransformType uint8

// The types of transforms. From TransformADDKE1 to TransformADDKE7 they are the additional key exchanges of RFC 9370,
// whose transform IDs are those of TransformKE.
const (
	TransformEncr   TransformType = 1
	TransformPRF    TransformType = 2
	TransformInteg  TransformType = 3
	TransformKE     TransformType = 4
	TransformSN     TransformType = 5 // sequence numbers: once ESN
	TransformADDKE1 TransformType = 6
	TransformADDKE2 TransformType = 7
	TransformADDKE3 TransformType = 8
	TransformADDKE4 TransformType = 9
	TransformADDKE5 TransformType = 10
	TransformADDKE6 TransformType = 11
	TransformADDKE7 TransformType = 12
)

// AdditionalKE says whether the type is one of the additional key exchanges.
func (t TransformType) AdditionalKE() bool { return t >= TransformADDKE1 && t <= TransformADDKE7 }

// String is IANA's abbreviation, or the number.
func (t TransformType) String() string {
	names := [...]string{"ENCR", "PRF", "INTEG", "KE", "SN", "ADDKE1", "ADDKE2", "ADDKE3", "ADDKE4", "ADDKE5", "ADDKE6", "ADDKE7"}
	if t >= 1 && int(t) <= len(names) {
		return names[t-1]
	}
	return fmt.Sprintf("transform type %d", uint8(t))
}

// AttributeKeyLength is the one transform attribute that there is.
const AttributeKeyLength = 14

// The encryption algorithms that are used here; TransformName knows all that are registered. These and the following are
// untyped so that they fit wherever an identifier of the registry is stored.
const (
	EncrNull             = 11
	EncrAESCBC           = 12
	EncrAESCTR           = 13
	EncrAESGCM8          = 18
	EncrAESGCM12         = 19
	EncrAESGCM16         = 20
	EncrNullAuthAESGMAC  = 21
	EncrChaCha20Poly1305 = 28
)

// The pseudorandom functions.
const (
	PRFHMACMD5    = 1
	PRFHMACSHA1   = 2
	PRFHMACSHA256 = 5
	PRFHMACSHA384 = 6
	PRFHMACSHA512 = 7
)

// The integrity algorithms.
const (
	IntegNone          = 0
	IntegHMACMD5_96    = 1
	IntegHMACSHA1_96   = 2
	IntegHMACSHA256128 = 12
	IntegHMACSHA384192 = 13
	IntegHMACSHA512256 = 14
)

// The key exchange methods.
const (
	KENone       = 0
	KEMODP1024   = 2
	KEMODP2048   = 14
	KEMODP3072   = 15
	KEMODP4096   = 16
	KEMODP6144   = 17
	KEMODP8192   = 18
	KEECP256     = 19
	KEECP384     = 20
	KEECP521     = 21
	KECurve25519 = 31
	KECurve448   = 32
	KEMLKEM512   = 35
	KEMLKEM768   = 36
	KEMLKEM1024  = 37
)

// The properties of sequence numbers (RFC 9827): SN32 is what was no ESN, SN64 what was ESN.
const (
	SN32            = 0
	SN64            = 1
	SN32Unspecified = 2
)

// TransformName is IANA's name of an algorithm, or its number.
func TransformName(t TransformType, id uint16) string {
	if t.AdditionalKE() {
		t = TransformKE
	}
	if name := transformNames[t][id]; name != "" {
		return name
	}
	return fmt.Sprintf("%v %d", t, id)
}

// String is the algorithm with its key length, as "ENCR_AES_CBC_256".
func (t Transform) String() string {
	name := TransformName(t.Type, t.ID)
	if t.Type.AdditionalKE() {
		name = t.Type.String() + "=" + name
	}
	if t.KeyLength != 0 {
		name += fmt.Sprintf("_%d", t.KeyLength)
	}
	if len(t.Attributes) != 0 {
		name += fmt.Sprintf(" with %d unknown attributes", len(t.Attributes))
	}
	return name
}

// Equal says whether both are the same, attributes included.
func (t Transform) Equal(o Transform) bool {
	return t.Type == o.Type && t.ID == o.ID && t.KeyLength == o.KeyLength &&
		slices.EqualFunc(t.Attributes, o.Attributes, func(a, b Attribute) bool {
			return a.Type == b.Type && a.Short == b.Short && string(a.Value) == string(b.Value)
		})
}

// String is the proposal in one line, as "ESP: ENCR_AES_GCM_16_256/32-bit Sequential Numbers".
func (p Proposal) String() string {
	s := p.Protocol.String() + ":"
	for i, t := range p.Transforms {
		if i == 0 {
			s += " " + t.String()
		} else {
			s += "/" + t.String()
		}
	}
	return s
}

// transformNames is read only: IANA's registry, by type and ID.
var transformNames = map[TransformType]map[uint16]string{
	TransformEncr: {
		1: "ENCR_DES_IV64", 2: "ENCR_DES", 3: "ENCR_3DES", 4: "ENCR_RC5", 5: "ENCR_IDEA", 6: "ENCR_CAST", 7: "ENCR_BLOWFISH",
		8: "ENCR_3IDEA", 9: "ENCR_DES_IV32", 11: "ENCR_NULL", 12: "ENCR_AES_CBC", 13: "ENCR_AES_CTR", 14: "ENCR_AES_CCM_8",
		15: "ENCR_AES_CCM_12", 16: "ENCR_AES_CCM_16", 18: "ENCR_AES_GCM_8", 19: "ENCR_AES_GCM_12", 20: "ENCR_AES_GCM_16",
		21: "ENCR_NULL_AUTH_AES_GMAC", 23: "ENCR_CAMELLIA_CBC", 24: "ENCR_CAMELLIA_CTR", 25: "ENCR_CAMELLIA_CCM_8",
		26: "ENCR_CAMELLIA_CCM_12", 27: "ENCR_CAMELLIA_CCM_16", 28: "ENCR_CHACHA20_POLY1305", 29: "ENCR_AES_CCM_8_IIV",
		30: "ENCR_AES_GCM_16_IIV", 31: "ENCR_CHACHA20_POLY1305_IIV", 32: "ENCR_KUZNYECHIK_MGM_KTREE",
		33: "ENCR_MAGMA_MGM_KTREE", 34: "ENCR_KUZNYECHIK_MGM_MAC_KTREE", 35: "ENCR_MAGMA_MGM_MAC_KTREE",
	},
	TransformPRF: {
		1: "PRF_HMAC_MD5", 2: "PRF_HMAC_SHA1", 3: "PRF_HMAC_TIGER", 4: "PRF_AES128_XCBC", 5: "PRF_HMAC_SHA2_256",
		6: "PRF_HMAC_SHA2_384", 7: "PRF_HMAC_SHA2_512", 8: "PRF_AES128_CMAC", 9: "PRF_HMAC_STREEBOG_512",
	},
	TransformInteg: {
		0: "NONE", 1: "AUTH_HMAC_MD5_96", 2: "AUTH_HMAC_SHA1_96", 3: "AUTH_DES_MAC", 4: "AUTH_KPDK_MD5", 5: "AUTH_AES_XCBC_96",
		6: "AUTH_HMAC_MD5_128", 7: "AUTH_HMAC_SHA1_160", 8: "AUTH_AES_CMAC_96", 9: "AUTH_AES_128_GMAC",
		10: "AUTH_AES_192_GMAC", 11: "AUTH_AES_256_GMAC", 12: "AUTH_HMAC_SHA2_256_128", 13: "AUTH_HMAC_SHA2_384_192",
		14: "AUTH_HMAC_SHA2_512_256",
	},
	TransformKE: {
		0: "NONE", 1: "MODP_768", 2: "MODP_1024", 5: "MODP_1536", 14: "MODP_2048", 15: "MODP_3072", 16: "MODP_4096",
		17: "MODP_6144", 18: "MODP_8192", 19: "ECP_256", 20: "ECP_384", 21: "ECP_521", 22: "MODP_1024_160", 23: "MODP_2048_224",
		24: "MODP_2048_256", 25: "ECP_192", 26: "ECP_224", 27: "BRAINPOOL_P224R1", 28: "BRAINPOOL_P256R1",
		29: "BRAINPOOL_P384R1", 30: "BRAINPOOL_P512R1", 31: "CURVE25519", 32: "CURVE448", 33: "GOST3410_2012_256",
		34: "GOST3410_2012_512", 35: "ML-KEM-512", 36: "ML-KEM-768", 37: "ML-KEM-1024",
	},
	TransformSN: {
		0: "32-bit Sequential Numbers", 1: "Partially Transmitted 64-bit Sequential Numbers", 2: "32-bit Unspecified Numbers",
	},
}
