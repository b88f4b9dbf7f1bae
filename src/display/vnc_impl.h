/*
 * What the VNC server's files share.
 *
 *   vnc.c            listening, the list of viewers, the refresh timer
 *   vnc_config.c     the option's text, password and certificate
 *   vnc_client.c     one connection: buffers, TLS, its end
 *   vnc_handshake.c  from the version to ServerInit, with authentication
 *   vnc_message.c    what a viewer says then
 *   vnc_keys.c       keysyms and scan codes to keys
 *   vnc_update.c     which parts of the screen are sent when
 *   vnc_encode.c     how: raw, Hextile, ZRLE, Tight
 *   vnc_pixel.c      pixel formats
 *
 * Invariants:
 * 1. A client is freed only by client_destroy, called from the two callbacks at the top (its descriptor's and
 *    the server's timer) and for eviction by accept. Everything below returns -1 for "end this connection".
 * 2. A viewer's updates are made only as far as it reads: OUT_LIMIT, plus one rectangle.
 * 3. A rectangle that was announced is sent, whatever becomes of the frame meanwhile: what lies outside of it
 * is black.
 */
#ifndef RING3_DISPLAY_VNC_IMPL_H
#define RING3_DISPLAY_VNC_IMPL_H

#include <gnutls/gnutls.h>
#include <sys/types.h>
#include <zlib.h>

#include "display/vnc.h"

#define VNC_MAX_CLIENTS    16
#define VNC_MAX_STRANGERS  8                 /* of them, not authenticated yet; the oldest has to go */
#define VNC_HANDSHAKE_NS   (30 * NS_PER_SEC) /* until it must be authenticated */
#define VNC_STALL_NS       (60 * NS_PER_SEC) /* a viewer that reads nothing for so long is gone */
#define VNC_REJECT_NS      (1 * NS_PER_SEC)  /* the answer to a wrong password takes its time */
#define VNC_FRAME_NS       (NS_PER_SEC / 30) /* between updates */
#define VNC_QUIET_FRAME_NS (NS_PER_SEC / 10) /* when nothing has changed for a while */
#define VNC_MAX_LISTENERS  8
#define VNC_MAX_PASSWORD   255
#define VNC_IN_SIZE        4096
#define VNC_OUT_LIMIT      KIB(256)
#define VNC_MAX_CUT_TEXT   MIB(1)
#define VNC_MAX_HELD       32 /* keys that a viewer holds down */

#define VNC_TILE      64u /* damage is kept in squares of that many pixels */
#define VNC_TILES     (DISPLAY_MAX_WIDTH / VNC_TILE)
#define VNC_RECT_WIDE 1024u /* widest rectangle that is sent; its height is that of a tile */

/* --- pixels (vnc_pixel.c) --- */

struct vnc_format {
    u8 bpp, depth; /* bits: 8, 16 or 32 */
    bool big_endian;
    bool colour_map; /* 8 bits; the map that we send makes them 3 red, 3 green, 2 blue */
    u16 max[3];      /* red, green, blue */
    u8 shift[3];
};

struct vnc_pixels {
    struct vnc_format format;
    u32 part[3][256]; /* each component's share of a pixel, in the viewer's byte order */
    bool identity;    /* a pixel of the frame is one of the viewer's */
    u8 bytes;         /* a pixel's */
    u8 compact_bytes; /* a CPIXEL's (ZRLE) */
    u8 compact_first; /* the first of the pixel's bytes that is in a CPIXEL */
    bool tight_rgb;   /* a TPIXEL (Tight) is R, G, B */
};

extern const struct vnc_format vnc_native_format;

/* -EINVAL: nobody can have such pixels. */
int vnc_pixels_set(struct vnc_pixels *pixels, const struct vnc_format *format);
/* 00RRGGBBh to the viewer's pixel, as it lies in memory. */
static inline u32 vnc_pixel(const struct vnc_pixels *p, u32 rgb)
{
    return p->part[0][rgb >> 16 & 0xff] | p->part[1][rgb >> 8 & 0xff] | p->part[2][rgb & 0xff];
}

/* --- keys (vnc_keys.c) --- */

struct vnc_keys {
    struct input *input;
    unsigned count;
    struct {
        u32 id; /* keysym, or scan code with bit 31 */
        u16 code;
        bool character; /* what keysym is sent at its release may differ */
    } held[VNC_MAX_HELD];
};

void vnc_keys_keysym(struct vnc_keys *keys, u32 keysym, bool pressed);
/* Of a QEMU extended key event: an XT code, bit 7 for E0h. False if there is no such key. */
bool vnc_keys_scancode(struct vnc_keys *keys, u32 xt, bool pressed);
void vnc_keys_release_all(struct vnc_keys *keys);

/* --- clients --- */

enum vnc_stage {
    VNC_VERSION,
    VNC_SECURITY,
    VNC_CHALLENGE, /* VNC authentication */
    VNC_VENCRYPT_VERSION,
    VNC_VENCRYPT_TYPE,
    VNC_TLS,      /* TLS handshake */
    VNC_PLAIN,    /* user name and password */
    VNC_REJECTED, /* waits to be told */
    VNC_INIT,
    VNC_RUNNING,
};

enum vnc_encoding {
    VNC_RAW = 0,
    VNC_HEXTILE = 5,
    VNC_TIGHT = 7,
    VNC_ZRLE = 16,
    VNC_DESKTOP_SIZE = -223,
    VNC_COMPRESS_FIRST = -256,
    VNC_COMPRESS_LAST = -247,
    VNC_EXTENDED_KEY = -258,
};

#define VNC_TIGHT_STREAMS 3

struct vnc_client {
    struct vnc *vnc;
    struct vnc_client *next;
    int fd;
    struct fd_watch *watch;
    enum vnc_stage stage;
    unsigned minor; /* protocol 3.3, 3.7 or 3.8 */
    u32 subtype;    /* of VeNCrypt; 0: none */
    u8 challenge[16];
    u64 deadline; /* host ns: for the handshake, or of the rejection */
    u64 progress; /* host ns: when it last took something */

    gnutls_session_t tls;
    bool tls_up;        /* what goes out is encrypted */
    size_t tls_pending; /* GnuTLS has taken so much, and wants to be called again */

    u8 in[VNC_IN_SIZE];
    size_t in_len;
    u64 skip;           /* bytes of a message that nobody wants */
    u32 encodings_left; /* of SetEncodings */
    u8 *out;            /* out[out_from..out_to) waits to be sent */
    size_t out_from, out_to, out_size;
    bool out_failed; /* no memory */

    struct vnc_pixels pixels;
    struct vnc_format next_format;
    bool format_pending; /* until the update under way is out */
    enum vnc_encoding encoding;
    bool encoding_chosen, can_resize, wants_extended_keys, acked_extended_keys;
    int compress_level;
    u32 width, height; /* of its picture, as it knows it */

    bool requested;             /* it waits for an update */
    struct display_rect region; /* of that part */
    u64 dirty[VNC_TILES];       /* row of tiles, a bit per column */
    u64 sending[VNC_TILES];     /* what is left of the update under way */
    bool updating;
    z_stream zrle, tight[VNC_TIGHT_STREAMS];
    bool zrle_ready, tight_ready[VNC_TIGHT_STREAMS];

    struct vnc_keys keys;
    u8 buttons; /* RFB's mask */
};

/* A rectangle in the largest pixels, and some more for the tiles' heads. */
#define VNC_SCRATCH ((size_t)VNC_RECT_WIDE * VNC_TILE * 4 + 4096)

struct vnc {
    struct loop *loop;
    struct display *display;
    struct input *input;
    struct log *log;
    char password[VNC_MAX_PASSWORD + 1];
    bool has_password;
    gnutls_certificate_credentials_t credentials;
    bool has_tls;
    struct {
        int fd;
        struct fd_watch *watch;
    } listeners[VNC_MAX_LISTENERS];
    unsigned listener_count;
    bool listeners_paused;      /* no descriptors left; until the next tick */
    struct vnc_client *clients; /* the newest first */
    unsigned client_count;
    struct display_viewer viewer;
    int timer_fd;
    struct fd_watch *timer_watch;
    u64 last_frame;                        /* host ns */
    u64 last_change;                       /* host ns: when anything was drawn or done */
    u32 picture[VNC_RECT_WIDE * VNC_TILE]; /* the rectangle that is being encoded */
    u8 scratch[VNC_SCRATCH];               /* and what becomes of it */
};

u64 vnc_now(void); /* host ns */

static inline u16 vnc_get_u16(const u8 *p)
{
    return (u16)(p[0] << 8 | p[1]);
}
static inline u32 vnc_get_u32(const u8 *p)
{
    return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

/* vnc_config.c */
int vnc_load_secrets(struct vnc *vnc, const struct vnc_config *config, struct error *err);

/* vnc.c: sets the timer for whoever waits for something. */
void vnc_schedule(struct vnc *vnc);

/* vnc_client.c */
int vnc_client_create(struct vnc_client **out, struct vnc *vnc, int fd);
void vnc_client_destroy(struct vnc_client *c); /* also takes it off the list */
int vnc_client_flush(struct vnc_client *c);
int vnc_client_start_tls(struct vnc_client *c);
/* Room for `len` bytes at the end of what waits to be sent; NULL (and out_failed) without memory. */
u8 *vnc_out_reserve(struct vnc_client *c, size_t len);
static inline void vnc_out_commit(struct vnc_client *c, size_t len)
{
    c->out_to += len;
}
void vnc_out(struct vnc_client *c, const void *data, size_t len);
void vnc_out_u8(struct vnc_client *c, u8 v);
void vnc_out_u16(struct vnc_client *c, u16 v);
void vnc_out_u32(struct vnc_client *c, u32 v);
/* A descriptor is not needed: what a fuzzer feeds. Takes all of it; -1: end this connection. */
int vnc_client_input(struct vnc_client *c, const u8 *data, size_t len);

/* vnc_handshake.c: what is in c->in. Bytes taken; 0: there must be more first; -1. */
void vnc_handshake_start(struct vnc_client *c);
ssize_t vnc_handshake_input(struct vnc_client *c);
int vnc_handshake_tls_done(struct vnc_client *c);
int vnc_handshake_rejected(struct vnc_client *c); /* the time is over */

/* vnc_message.c: as vnc_handshake_input. */
ssize_t vnc_message_input(struct vnc_client *c);
/* Takes c->next_format. -1: no such pixels. */
int vnc_format_apply(struct vnc_client *c);

/* vnc_update.c */
void vnc_damage_all(struct vnc_client *c);
void vnc_damage(struct vnc_client *c, struct display_rect rect);
bool vnc_wants_update(const struct vnc_client *c); /* there may be something to send */
int vnc_update_start(struct vnc_client *c);
int vnc_update_continue(struct vnc_client *c);

/* vnc_encode.c: one rectangle with its head. */
void vnc_encode_rect(struct vnc_client *c, struct display_rect rect);
void vnc_encode_finish(struct vnc_client *c);

#endif
