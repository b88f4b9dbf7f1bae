/*
 * From the protocol's version to ServerInit (RFC 6143, sections 7.1 to 7.3), with VNC authentication, and
 * VeNCrypt's X509 types: TLS with our certificate, then no, VNC's or a plain password.
 */
#include <gnutls/crypto.h>
#include <string.h>

#include "display/vnc_impl.h"

enum security { SECURITY_INVALID = 0, SECURITY_NONE = 1, SECURITY_VNC = 2, SECURITY_VENCRYPT = 19 };

enum vencrypt { VENCRYPT_X509_NONE = 260, VENCRYPT_X509_VNC = 261, VENCRYPT_X509_PLAIN = 262 };

#define VERSION_LEN 12
#define MAX_USER    255

static const char name[] = "ring3";

static void out_reason(struct vnc_client *c, const char *reason)
{
    vnc_out_u32(c, (u32)strlen(reason));
    vnc_out(c, reason, strlen(reason));
}

void vnc_handshake_start(struct vnc_client *c)
{
    c->stage = VNC_VERSION;
    c->deadline = vnc_now() + VNC_HANDSHAKE_NS;
    vnc_out(c, "RFB 003.008\n", VERSION_LEN);
}

/* --- results ---------------------------------------------------------------------------------------- */

static int accept_viewer(struct vnc_client *c)
{
    /* 3.3 and 3.7 say nothing where there is nothing to be authenticated. */
    bool none = !c->vnc->has_password && !c->subtype;
    if (!none || c->minor >= 8)
        vnc_out_u32(c, 0);
    c->stage = VNC_INIT;
    return 0;
}

static int reject_viewer(struct vnc_client *c)
{
    c->stage = VNC_REJECTED;
    c->deadline = vnc_now() + VNC_REJECT_NS;
    vnc_schedule(c->vnc);
    return 0;
}

int vnc_handshake_rejected(struct vnc_client *c)
{
    vnc_out_u32(c, 1);
    if (c->minor >= 8)
        out_reason(c, "wrong password");
    vnc_client_flush(c);
    return -1;
}

/* --- VNC authentication ----------------------------------------------------------------------------- */

static int start_challenge(struct vnc_client *c)
{
    if (gnutls_rnd(GNUTLS_RND_NONCE, c->challenge, sizeof c->challenge) < 0)
        return -1;
    vnc_out(c, c->challenge, sizeof c->challenge);
    c->stage = VNC_CHALLENGE;
    return 0;
}

/* DES in ECB mode with the password as the key, the bits of each byte reversed. GnuTLS has DES in CBC mode
 * only, which for one block with a zero vector is the same. */
static bool encrypt_challenge(const struct vnc_client *c, u8 out[16])
{
    u8 key[8] = {0}, zero[8] = {0};
    bool done = true;
    for (unsigned i = 0; i < 8 && c->vnc->password[i]; i++)
        for (unsigned bit = 0; bit < 8; bit++)
            key[i] |= (u8)(((u8)c->vnc->password[i] >> bit & 1) << (7 - bit));
    memcpy(out, c->challenge, 16);
    for (unsigned block = 0; block < 2; block++) {
        gnutls_cipher_hd_t cipher;
        gnutls_datum_t k = {key, sizeof key}, iv = {zero, sizeof zero};
        if (gnutls_cipher_init(&cipher, GNUTLS_CIPHER_DES_CBC, &k, &iv) < 0)
            return false;
        done = done && gnutls_cipher_encrypt(cipher, out + 8 * block, 8) >= 0;
        gnutls_cipher_deinit(cipher);
    }
    explicit_bzero(key, sizeof key);
    return done;
}

static ssize_t take_response(struct vnc_client *c)
{
    u8 want[16];
    if (c->in_len < sizeof want)
        return 0;
    bool right = encrypt_challenge(c, want) && !gnutls_memcmp(want, c->in, sizeof want);
    explicit_bzero(want, sizeof want);
    explicit_bzero(c->challenge, sizeof c->challenge);
    if ((right ? accept_viewer(c) : reject_viewer(c)) < 0)
        return -1;
    return sizeof want;
}

/* --- plain password, inside TLS --------------------------------------------------------------------- */

static ssize_t take_plain(struct vnc_client *c)
{
    if (c->in_len < 8)
        return 0;
    u32 user = vnc_get_u32(c->in), password = vnc_get_u32(c->in + 4);
    if (user > MAX_USER || password > VNC_MAX_PASSWORD)
        return -1;
    size_t len = 8 + user + password;
    if (c->in_len < len)
        return 0;
    /* The user's name is not asked: there is one screen and one password. */
    char given[VNC_MAX_PASSWORD + 1] = {0};
    memcpy(given, c->in + 8 + user, password);
    bool right = !gnutls_memcmp(given, c->vnc->password, sizeof given);
    explicit_bzero(given, sizeof given);
    explicit_bzero(c->in, len);
    int rc = right ? accept_viewer(c) : reject_viewer(c);
    return rc < 0 ? -1 : (ssize_t)len;
}

/* --- VeNCrypt --------------------------------------------------------------------------------------- */

static ssize_t take_vencrypt_version(struct vnc_client *c)
{
    if (c->in_len < 2)
        return 0;
    bool known = c->in[0] == 0 && c->in[1] == 2;
    vnc_out_u8(c, known ? 0 : 0xff);
    if (!known) {
        vnc_client_flush(c);
        return -1;
    }
    if (c->vnc->has_password) {
        vnc_out_u8(c, 2);
        vnc_out_u32(c, VENCRYPT_X509_VNC);
        vnc_out_u32(c, VENCRYPT_X509_PLAIN);
    } else {
        vnc_out_u8(c, 1);
        vnc_out_u32(c, VENCRYPT_X509_NONE);
    }
    c->stage = VNC_VENCRYPT_TYPE;
    return 2;
}

static ssize_t take_vencrypt_type(struct vnc_client *c)
{
    if (c->in_len < 4)
        return 0;
    u32 type = vnc_get_u32(c->in);
    bool known = c->vnc->has_password ? type == VENCRYPT_X509_VNC || type == VENCRYPT_X509_PLAIN
                                      : type == VENCRYPT_X509_NONE;
    vnc_out_u8(c, known);
    /* TLS begins behind our answer: nothing can be here yet. */
    if (!known || c->in_len > 4) {
        vnc_client_flush(c);
        return -1;
    }
    c->subtype = type;
    c->stage = VNC_TLS;
    return 4;
}

int vnc_handshake_tls_done(struct vnc_client *c)
{
    switch (c->subtype) {
    case VENCRYPT_X509_VNC:
        return start_challenge(c);
    case VENCRYPT_X509_PLAIN:
        c->stage = VNC_PLAIN;
        return 0;
    default:
        return accept_viewer(c);
    }
}

/* --- version and security type ---------------------------------------------------------------------- */

static enum security security_offered(const struct vnc *vnc)
{
    return vnc->has_tls ? SECURITY_VENCRYPT : vnc->has_password ? SECURITY_VNC : SECURITY_NONE;
}

static int security_begin(struct vnc_client *c, enum security type)
{
    switch (type) {
    case SECURITY_NONE:
        return accept_viewer(c);
    case SECURITY_VNC:
        return start_challenge(c);
    default:
        vnc_out_u8(c, 0);
        vnc_out_u8(c, 2);
        c->stage = VNC_VENCRYPT_VERSION;
        return 0;
    }
}

/* In 3.3 the server decides, among types that were known then. */
static int security_dictate(struct vnc_client *c)
{
    enum security type = security_offered(c->vnc);
    if (type == SECURITY_VENCRYPT) {
        vnc_out_u32(c, SECURITY_INVALID);
        out_reason(c, "this server wants TLS, which this viewer's protocol does not have");
        vnc_client_flush(c);
        return -1;
    }
    vnc_out_u32(c, type);
    return security_begin(c, type);
}

static ssize_t take_version(struct vnc_client *c)
{
    if (c->in_len < VERSION_LEN)
        return 0;
    const u8 *v = c->in;
    if (memcmp(v, "RFB 003.", 8) != 0 || v[11] != '\n')
        return -1;
    for (int i = 8; i < 11; i++)
        if (v[i] < '0' || v[i] > '9')
            return -1;
    /* There are 3.3, 3.7 and 3.8; what others say they are is taken for the next below (Apple: 3.889). */
    unsigned minor = (v[8] - '0') * 100u + (v[9] - '0') * 10u + (v[10] - '0');
    c->minor = minor >= 8 ? 8 : minor == 7 ? 7 : 3;
    if (c->minor == 3)
        return security_dictate(c) < 0 ? -1 : VERSION_LEN;
    vnc_out_u8(c, 1);
    vnc_out_u8(c, (u8)security_offered(c->vnc));
    c->stage = VNC_SECURITY;
    return VERSION_LEN;
}

static ssize_t take_security(struct vnc_client *c)
{
    if (c->in[0] != security_offered(c->vnc))
        return -1;
    return security_begin(c, c->in[0]) < 0 ? -1 : 1;
}

/* --- initialization --------------------------------------------------------------------------------- */

static void out_format(struct vnc_client *c, const struct vnc_format *f)
{
    static const u8 padding[3];
    vnc_out_u8(c, f->bpp);
    vnc_out_u8(c, f->depth);
    vnc_out_u8(c, f->big_endian);
    vnc_out_u8(c, !f->colour_map);
    for (int i = 0; i < 3; i++)
        vnc_out_u16(c, f->max[i]);
    for (int i = 0; i < 3; i++)
        vnc_out_u8(c, f->shift[i]);
    vnc_out(c, padding, sizeof padding);
}

/* ClientInit asks whether others may stay; they may always: watching is what several viewers are for. */
static ssize_t take_init(struct vnc_client *c)
{
    display_refresh(c->vnc->display);
    const struct display_frame *frame = display_frame(c->vnc->display);
    c->width = frame->width;
    c->height = frame->height;
    vnc_out_u16(c, (u16)c->width);
    vnc_out_u16(c, (u16)c->height);
    out_format(c, &vnc_native_format);
    vnc_out_u32(c, sizeof name - 1);
    vnc_out(c, name, sizeof name - 1);
    c->stage = VNC_RUNNING;
    c->progress = vnc_now();
    vnc_damage_all(c);
    return 1;
}

ssize_t vnc_handshake_input(struct vnc_client *c)
{
    switch (c->stage) {
    case VNC_VERSION:
        return take_version(c);
    case VNC_SECURITY:
        return take_security(c);
    case VNC_CHALLENGE:
        return take_response(c);
    case VNC_VENCRYPT_VERSION:
        return take_vencrypt_version(c);
    case VNC_VENCRYPT_TYPE:
        return take_vencrypt_type(c);
    case VNC_PLAIN:
        return take_plain(c);
    case VNC_INIT:
        return take_init(c);
    default: /* VNC_TLS, VNC_REJECTED: nothing may be said here */
        return -1;
    }
}
