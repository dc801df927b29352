// Package config turns a file, environment variables and flags into one [Config]
// value, which is handed around; nothing else reads any of them. Flags win over the
// environment, which wins over the file, which wins over the defaults.
//
// It owns the names of settings, their defaults and their checks. It must not know
// what the settings do, and it reads no other file than the configuration and the
// one that holds the master key.
//
// Read config.go first: the comments on its fields are the documentation that
// `selvage config` prints. A setting's name follows from its place: base_domain in
// the section dns is dns.base_domain, SELVAGE_DNS_BASE_DOMAIN and --dns-base-domain.
package config
