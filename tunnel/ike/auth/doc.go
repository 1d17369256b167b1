// Package auth says who a peer is and how it proves it: identities, certificates, raw public keys, shared secrets. A
// Credentials is what the machine of package ike asks.
//
// Reading order: identity.go, parse.go and dn.go (what an identity is, its text and its bytes), match.go (patterns),
// confirm.go (what a certificate says about an identity), refusal.go (why a peer is refused), file.go, certificate.go,
// key.go, crl.go and secret.go (what is read from files), authorities.go (chains), secrets.go (whose secret), local.go and
// proof.go and remote.go (proving and checking), credentials.go (both for package ike).
//
// # Trust
//
// Only what is configured is trusted: authorities, single certificates, raw public keys, secrets. What a peer sends is
// material to build a chain from. Nothing is ever fetched: not certificates by hash and URL, not CRLs, no OCSP answers; CRLs
// that a peer sends are ignored. An identity that a peer claims is literal, even if it looks like a pattern, and must be
// confirmed by the peer's certificate: as its subject, as a subjectAltName, or, for a key identifier, as its
// subjectKeyIdentifier. A raw public key or a single shared secret confirms nothing; the configuration ties it to identities.
//
// Extended key usage, where a certificate has any, must be serverAuth, clientAuth, ipsecIKE or any; key usage must be
// digitalSignature or contentCommitment (RFC 4945 section 5.1.3). As soon as a CRL is configured, each certificate of a chain
// but the trust anchor needs a current one of its issuer.
//
// # Work
//
// A peer that is not authenticated yet can make us parse at most maxPeerCertificates certificates and maxPeerBytes bytes,
// none with an RSA modulus over maxRSA bits. Chains are built from the trust anchors downwards, so that forged certificates
// cost one failed signature check each, at most maxPeerChecks in all.
//
// # Concurrency
//
// All types are unchangeable once made and may be used from anywhere at once. Functions that begin with Load read files; no
// others do.
//
// # RFC coverage
//
// Done: RFC 7296 sections 2.15, 3.5 to 3.8, RFC 4945 (identities in certificates, key usage), RFC 5280 as crypto/x509 does
// it, with CRLs (section 6.3, complete ones of the issuer itself), RFC 7427, 7670, 8420. Not done: ID_DER_ASN1_GN, NULL
// authentication, EAP, several authentications (RFC 4739), OCSP (RFC 4806), delta and indirect CRLs, directoryName in
// subjectAltName, multi-valued RDNs in the text of names.
package auth
