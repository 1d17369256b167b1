// Package e2e tests the program as a person meets it: the daemon between network namespaces, its command line, its exit
// status, its end. There is nothing in it but tests.
//
// Reading order: daemon_test.go.
package e2e
