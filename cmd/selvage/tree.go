package main

// root returns the tree of all commands.
func root() *command {
	return &command{
		name: "selvage", short: "Selvage is a self-hosted zero-trust network server for Tailscale clients.",
		long: "`selvage serve` runs the server; the other commands speak to it over the socket in its\n" +
			"data folder or, with SELVAGE_URL and SELVAGE_TOKEN, over the network.",
		examples: []string{"serve", "key create --reusable", "node list"},
		sub: []*command{
			serveCommand(),
			demoCommand(),
			statusCommand(),
			nodeCommand(),
			userCommand(),
			keyCommand(),
			routeCommand(),
			policyCommand(),
			dnsCommand(),
			settingsCommand(),
			journalCommand(),
			tailnetCommand(),
			tokenCommand(),
			relayCommand(),
			backupCommand(),
			restoreCommand(),
			configCommand(),
			completionCommand(),
			completeCommand(),
			versionCommand(),
		},
	}
}
