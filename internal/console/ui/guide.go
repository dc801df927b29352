package ui

// Guide is the steps to add a device on each platform; the template "guide".
type Guide struct {
	// Server is the address of the server, without a slash at the end.
	Server string
	// Open is the platform whose steps are open at first: "linux", "macos",
	// "windows", "ios" or "android".
	Open string
	// Local is set when other machines can't reach Server.
	Local bool
}

// Up is the command that connects a Linux machine.
func (g Guide) Up() string { return "sudo tailscale up --login-server=" + g.Server }

// UpMac is the command on macOS, where the program sits in the app.
func (g Guide) UpMac() string {
	return "/Applications/Tailscale.app/Contents/MacOS/Tailscale up --login-server=" + g.Server
}

// UpWindows is the command on Windows.
func (g Guide) UpWindows() string { return "tailscale up --login-server=" + g.Server }

// UpKey is the command for a machine without a browser.
func (g Guide) UpKey() string {
	return "sudo tailscale up --login-server=" + g.Server + " --auth-key=KEY"
}

// Container is the command that starts a container.
func (g Guide) Container() string {
	return "docker run --detach --name=tailscale --env=TS_AUTHKEY=KEY --env=TS_EXTRA_ARGS=--login-server=" + g.Server +
		" --env=TS_STATE_DIR=/var/lib/tailscale --volume=tailscale:/var/lib/tailscale tailscale/tailscale"
}
