/*
 * The VNC server: the guest's screen, keyboard and pointer for viewers over TCP, by the Remote Framebuffer
 * protocol (RFC 6143, and the extensions registered in the community's rfbproto document).
 *
 * Why it is our own: neatvnc 0.5, the library in question, has no VNC authentication, so that passwords work
 * only with TLS and user names (which the tightvnc viewer, for one, does not speak); it takes any number of
 * connections that say nothing and keeps them for ever; and its event loop and log are the process', not the
 * VM's. libvncserver's licence excludes it.
 *
 * Viewers are strangers: what they send is bounded and checked (vnc_impl.h has the limits), nobody who is
 * slow or silent holds memory or the guest.
 *
 * Everything here: [machine lock], loop thread.
 */
#ifndef RING3_DISPLAY_VNC_H
#define RING3_DISPLAY_VNC_H

#include "base/error.h"
#include "base/log.h"
#include "display/display.h"
#include "display/input.h"
#include "loop/loop.h"

struct vnc_config {
    char host[256];           /* "": this computer only, 127.0.0.1 and ::1 */
    unsigned display;         /* TCP port 5900 + display */
    char password_file[4096]; /* "": none */
    char tls_dir[4096];       /* "": none; holds server-cert.pem and server-key.pem */
};

#define VNC_MAX_DISPLAY (65535u - 5900u)

/* "[HOST:]N[,password-file=FILE][,tls=DIR]"; an IPv6 address stands in brackets. -EINVAL. No lock. */
int vnc_config_parse(struct vnc_config *config, const char *text, struct error *err);

struct vnc;

/* Listens from now on. Reads the password (the first line of its file) and the certificate. */
int vnc_create(struct vnc **out, const struct vnc_config *config, struct loop *loop, struct display *display,
               struct input *input, struct log *log, struct error *err);
void vnc_destroy(struct vnc *vnc);

#endif
