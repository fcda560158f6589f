//! From the double-click to the first frame, and what is tried where a window can't be drawn.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use eframe::egui::{Context, IconData, UserAttentionType, ViewportBuilder, ViewportCommand};
use eframe::{CreationContext, NativeOptions, Renderer};
use jiff::Timestamp;

use super::app::Window;
use super::desk::{Desk, Message, Post, SharedSeat};
use super::model::Model;
use super::seat::Seat;
use super::theme;
use super::words::Words;
use crate::host::relaunch::{self, OwnCopy};
use crate::host::{display, env, signals};
use crate::session::{self, Options};
use crate::{Error, Kind, Result};

/// What the window is for the desktop, where that keeps windows apart by program.
const APP_ID: &str = "pocketvm";

/// Opens the window and returns when it is closed, with the exit code. All paths in `options` must be absolute.
///
/// # Errors
/// [`Kind::Display`]: there is no display, or no window can be drawn on it. What goes wrong later is shown in the window.
pub fn open(options: Options) -> Result<u8> {
    if !display::is_there() {
        return Err(no_window("there is no display for the window").safe("nothing was changed"));
    }
    let folder = std::env::current_dir()?;
    display::keep_no_cache();
    let copy = OwnCopy::hold()?;
    let (seat, trouble) = match arrive(&options) {
        Ok(Arrival::Seated(seat)) => (Some(*seat), None),
        Ok(Arrival::Left(code)) => return Ok(code),
        // Nothing is wrong with the window: it tells.
        Err(error) => (None, Some(error)),
    };
    let seat: SharedSeat = Arc::new(Mutex::new(seat));
    let renderer = renderer();
    let shown = show(renderer, options, seat.clone(), trouble);
    let Err(reason) = shown else {
        // The copy's folder first, then the folder that it lies in.
        drop(copy);
        leave(&seat);
        return Ok(0);
    };
    tracing::warn!(%reason, renderer = name(renderer), "the window can't be drawn");
    if renderer == Renderer::Wgpu {
        leave(&seat);
        return relaunch::again(copy, &folder, env::RENDERER, name(Renderer::Glow));
    }
    drop(copy);
    leave(&seat);
    let words = Words::new(None, &locales());
    let text = format!("{}.\n\n{}\n\n{reason}", words.say("fail-display"), words.say("fail-next-display"));
    display::message("PocketVM", &text);
    Err(no_window(format!("the window can't be drawn: {reason}")))
}

/// Languages that this PC's user wants, best first.
fn locales() -> Vec<String> {
    sys_locale::get_locales().collect()
}

fn no_window(what: impl Into<String>) -> Error {
    Error::new(Kind::Display, what)
        .hint("use the command line: `pocketvm run` starts the machine, `pocketvm --help` tells the rest")
}

/// Where a start leads to.
enum Arrival {
    /// This process is to show the window.
    Seated(Box<Seat>),
    /// Another one shows it, or has shown it, and this is the exit code.
    Left(u8),
}

/// Finds the drive, sees to it that this process is the only one with its window, and leaves the drive.
fn arrive(options: &Options) -> Result<Arrival> {
    let drive = options.find_drive()?;
    let scratch = options.find_scratch(&drive)?;
    let Some(seat) = Seat::take(&drive, scratch)? else { return Ok(Arrival::Left(0)) };
    if relaunch::is_needed(&drive)? {
        let scratch = seat.scratch().clone();
        // The copy takes it.
        drop(seat);
        scratch.prepare()?;
        // On POSIX this does not return: the copy takes this process over.
        return relaunch::relaunch(&scratch).map(Arrival::Left);
    }
    relaunch::leave_to(seat.scratch().path())?;
    Ok(Arrival::Seated(Box::new(seat)))
}

fn leave(seat: &SharedSeat) {
    drop(seat.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// What draws: wgpu, unless a first try with it failed or the user says otherwise.
fn renderer() -> Renderer {
    match env::text(env::RENDERER).as_deref() {
        Some("glow") => Renderer::Glow,
        _ => Renderer::Wgpu,
    }
}

fn name(renderer: Renderer) -> &'static str {
    match renderer {
        Renderer::Glow => "glow",
        Renderer::Wgpu => "wgpu",
    }
}

/// Shows the window until it is closed; else why it could not be drawn.
fn show(
    renderer: Renderer,
    options: Options,
    seat: SharedSeat,
    trouble: Option<Error>,
) -> Result<(), String> {
    let native = NativeOptions {
        renderer,
        viewport: ViewportBuilder::default()
            .with_title("PocketVM")
            .with_app_id(APP_ID)
            .with_icon(IconData::default())
            .with_inner_size(theme::WINDOW)
            .with_min_inner_size(theme::WINDOW_LEAST),
        // Nothing of this PC goes into the window, and nothing of the window stays on this PC.
        persist_window: false,
        system_font_fallback: false,
        ..NativeOptions::default()
    };
    let create = move |creation: &CreationContext<'_>| {
        let window = window(&creation.egui_ctx, options, seat, trouble, name(renderer))?;
        Ok(Box::new(window) as Box<dyn eframe::App>)
    };
    let run = AssertUnwindSafe(|| eframe::run_native(APP_ID, native, Box::new(create)));
    // A driver's fault often is a panic of the library that speaks to it.
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => Ok(()),
        // Its text has everything that was asked for.
        Ok(Err(eframe::Error::NoGlutinConfigs(_, error))) => Err(format!("OpenGL can't be used: {error}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned())
        }
    }
}

/// The window, which looks at the drive from its first frame on.
fn window(
    context: &Context,
    options: Options,
    seat: SharedSeat,
    trouble: Option<Error>,
    renderer: &'static str,
) -> Result<Window<Desk>, std::io::Error> {
    let (sender, messages) = mpsc::channel();
    hear_signals(&sender, context)?;
    let post: Post = {
        let (sender, context) = (sender.clone(), context.clone());
        Arc::new(move |message| {
            // Without a window there is nobody to tell.
            let _ = sender.send(message);
            context.request_repaint();
        })
    };
    let raise = {
        let context = context.clone();
        move || raise(&context)
    };
    if let Some(seat) = seat.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        seat.on_call(raise.clone());
    }
    let desk = Desk::open(post, seat, Box::new(raise));
    let locales = locales();
    // Looks as the drive says from the first frame on, where that can be read.
    let settings = session::settings(&options).unwrap_or_default();
    let words = Words::new(settings.language.as_deref(), &locales);
    let model = Model::new(options, settings, Timestamp::now());
    let mut window = Window::new(context, model, words, locales, desk, messages, renderer);
    match trouble {
        // A drive that is not there, or one of several, is looked for again and explained.
        Some(error) if error.kind != Kind::Drive => {
            let _ = sender.send(Message::Unseen(error));
        }
        _ => window.look(context),
    }
    Ok(window)
}

/// Who asks this process to end asks the window.
fn hear_signals(sender: &Sender<Message>, context: &Context) -> Result<(), std::io::Error> {
    let signals = signals::listen()?;
    let (sender, context) = (sender.clone(), context.clone());
    std::thread::Builder::new().name("signals to the window".to_owned()).spawn(move || {
        for signal in signals {
            tracing::info!(?signal, "asked to stop");
            let _ = sender.send(Message::Quit);
            context.request_repaint();
        }
    })?;
    Ok(())
}

/// Brings the window to the front, as far as the desktop lets a program do that.
fn raise(context: &Context) {
    context.send_viewport_cmd(ViewportCommand::Minimized(false));
    context.send_viewport_cmd(ViewportCommand::Visible(true));
    context.send_viewport_cmd(ViewportCommand::Focus);
    context.send_viewport_cmd(ViewportCommand::RequestUserAttention(UserAttentionType::Informational));
    context.request_repaint();
}
