// Package e2e tests the program as a person meets it: the daemon between network namespaces, its command line, its exit
// status, its end. There is nothing in it but tests.
//
// Reading order: daemon_test.go; then sites_test.go, three sites of two gateways each: what it costs when gateways die, leave and come
// back, and who uses the processors meanwhile. For the figures of ten runs each: go test ./bench/e2e -run TestSites -v -sites.runs 10
// -timeout 30m; with -run 'TestSites/BFD$' for one laboratory alone, whose load is then that of nobody else; -sites.watch 30s measures
// longer what it costs before anything happens.
package e2e
